"""What a command line names to be submitted: files, patterns, folders and URLs."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from morag_client.cli.reading import printable


@dataclass(frozen=True, slots=True)
class Source:
    """A file (`path`) or a URL (no path); `name` is how it is shown, `size` is in bytes."""

    name: str
    path: Path | None = None
    size: int = 0


@dataclass(frozen=True, slots=True)
class Unfit:
    """A thing that cannot be submitted, and why."""

    name: str
    why: str


def find_sources(arguments: Iterable[str], *, recursive: bool) -> tuple[list[Source], list[Unfit]]:
    """What is meant, each once, in the order it was named in; folders count with `recursive`."""
    sources: dict[str, Source] = {}
    unfit: list[Unfit] = []
    for argument in arguments:
        for found in _meant(argument, recursive=recursive):
            if isinstance(found, Unfit):
                unfit.append(found)
            else:
                sources.setdefault(found.name if found.path is None else os.path.realpath(found.path), found)
    return list(sources.values()), unfit


def _meant(argument: str, *, recursive: bool) -> Iterator[Source | Unfit]:
    if argument.lower().startswith(("http://", "https://")):
        yield Source(argument)
    elif os.path.lexists(argument) or not glob.has_magic(argument):
        yield from _of_path(argument, recursive=recursive)
    else:
        # A folder that a pattern happens to match is not meant.
        matches = [match for match in sorted(glob.glob(argument, recursive=True)) if recursive or not _is_folder(match)]  # noqa: PTH207  # Path.glob takes no absolute pattern
        if not matches:
            yield Unfit(printable(argument), "nothing matches it")
        for match in matches:
            yield from _of_path(match, recursive=recursive)


def _of_path(name: str, *, recursive: bool) -> Iterator[Source | Unfit]:
    if not _is_folder(name):
        yield _file(name)
    elif not recursive:
        yield Unfit(printable(name), "is a folder; --recursive takes what is in it")
    else:
        yield from _inside(name)


def _inside(folder: str) -> Iterator[Source | Unfit]:
    """The files in and below a folder, without hidden ones; links to folders are not followed."""
    problems: list[Unfit] = []

    def note(error: OSError) -> None:
        problems.append(Unfit(printable(os.fsdecode(error.filename)), (error.strerror or str(error)).lower()))

    is_empty = True
    for place, folders, files in os.walk(folder, onerror=note):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in files if not name.startswith(".")):
            is_empty = False
            yield _file(os.path.join(place, name))  # noqa: PTH118  # as it was named, `./` too
    yield from problems
    if is_empty and not problems:
        yield Unfit(printable(folder), "has no files in it")


def _file(name: str) -> Source | Unfit:
    path = Path(name)
    shown = printable(name)
    try:
        size = path.stat().st_size
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return Unfit(shown, reason[0].lower() + reason[1:])
    # To open a pipe would wait for whoever writes to it.
    return Source(shown, path, size) if path.is_file() else Unfit(shown, "is no regular file")


def _is_folder(name: str) -> bool:
    try:
        return Path(name).is_dir()
    except (OSError, ValueError):
        return False
