"""Fetching files from MoRAG, several at once, into a folder in which nothing is overwritten by chance."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from morag_client.api.keeping import plain_name
from morag_client.cli.clients import INTERRUPTED, client_of, line_of, run, said
from morag_client.cli.downloading import nothing_of
from morag_client.cli.following import finish
from morag_client.cli.inboxes import printable
from morag_client.cli.screens import Screen
from morag_client.cli.transfers import Transfers
from morag_client.errors import ApiError, MoragError, NotFound, NotSupported

if TYPE_CHECKING:
    from morag_client.api.async_client import AsyncMoragClient

_THERE: Final = "it is there already; --force puts the new one in its place"
_NO_TASKS: Final = (
    "this MoRAG is of release r3, which has no tasks: give the paths of files as its webhooks name them, or as"
    " morag-client download --list / does"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A file of MoRAG's: a task's by its name, one that a URL names, or one that a stage left, by its path."""

    name: str
    task_id: str | None = None
    url: str | None = None
    stage_path: str | None = None
    size: int | None = None


async def what_there_is(client: AsyncMoragClient, source: str) -> Sequence[Wanted]:
    """The files that a task left; of r3, all that stages left. Raises ApiError."""
    if await client.release() == "r3":
        left = await client.files.list()
        return [
            Wanted(
                name=file.filename or file.file_path, stage_path=file.file_path, url=file.file_path, size=file.file_size
            )
            for file in left.files
        ]
    found = await client.list_files(source)
    return [Wanted(name=file.filename, task_id=source, url=file.url, size=file.size_bytes) for file in found.files]


class Fetches:
    """Fetches files into a folder and says what became of each."""

    def __init__(self, folder: Path, *, force: bool, as_json: bool) -> None:
        self._folder = folder
        self._force = force
        self._as_json = as_json
        self._count = 0
        self._saved = 0
        self._failed: list[str] = []

    def run(
        self, source: str, files: Sequence[str], *, concurrency: int, api_url: str | None, api_version: str
    ) -> None:
        """Runs it. Raises typer.Exit: 1 where one could not be had, 130 after Ctrl-C."""
        try:
            run(self._go(source, files, concurrency=concurrency, api_url=api_url, api_version=api_version))
        except KeyboardInterrupt:
            left = self._count - self._saved - len(self._failed)
            typer.echo(f"interrupted; {left:,} of {self._count:,} were not fetched", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except (ApiError, OSError) as error:
            typer.echo(f"error: {said(error)}", err=True)
            raise typer.Exit(1) from None
        if self._count > 1:
            more = f", {len(self._failed):,} failed" if self._failed else ""
            typer.echo(f"{self._saved:,} of {self._count:,} were fetched{more}", err=True)
        if self._failed:
            raise typer.Exit(1)

    async def _go(
        self, source: str, files: Sequence[str], *, concurrency: int, api_url: str | None, api_version: str
    ) -> None:
        async with client_of(api_url, api_version) as client:
            wanted = await _wanted(client, source, files)
            if not wanted:
                raise NotFound(nothing_of(source))
            self._count = len(wanted)
            self._folder.mkdir(parents=True, exist_ok=True)
            transfers = Transfers("fetched", len(wanted), sum(file.size or 0 for file in wanted))
            with Screen(transfers.lines) as screen:
                left = iter(wanted)
                await finish(self._all(client, left, transfers, screen, concurrency))

    async def _all(
        self, client: AsyncMoragClient, left: Iterator[Wanted], transfers: Transfers, screen: Screen, concurrency: int
    ) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(self._work(client, left, transfers, screen))

    async def _work(
        self, client: AsyncMoragClient, left: Iterator[Wanted], transfers: Transfers, screen: Screen
    ) -> None:
        for file in left:
            transfer = transfers.begin(file.name, file.size or 0)
            try:
                path = await self._fetch(client, file, transfer.on_progress)
            except (MoragError, OSError) as error:
                self._failed.append(file.name)
                self._tell(screen, file, None, why=said(error))
            else:
                self._saved += 1
                self._tell(screen, file, path, why=None)
            finally:
                transfers.end(transfer, expected=file.size or transfer.done)

    async def _fetch(self, client: AsyncMoragClient, file: Wanted, on_progress: Callable[[int, int], None]) -> Path:
        """Where it is. Raises ApiError, ConfigurationError and OSError; FileExistsError before anything is fetched."""
        place = self._free_place(file.name)
        with _beside(place) as hidden:
            if file.stage_path is not None:
                await client.files.download(file.stage_path, to=hidden, on_progress=on_progress)
            elif file.task_id is not None:
                await client.download(file.task_id, file.name, to=hidden, on_progress=on_progress)
            else:
                await client.download(file.url or "", to=hidden, on_progress=on_progress)
            _put(hidden, place, force=self._force)
        return place

    def _free_place(self, name: str) -> Path:
        # What a server calls a file is one name in the folder, and no way out of it.
        place = self._folder / plain_name(name)
        if not self._force and os.path.lexists(place):
            raise FileExistsError(errno.EEXIST, _THERE)
        return place

    def _tell(self, screen: Screen, file: Wanted, path: Path | None, *, why: str | None) -> None:
        shown = None if path is None else printable(str(path).encode("utf-8", "replace").decode())
        if self._as_json:
            size = None if path is None else path.stat().st_size
            screen.say(line_of({"file": file.name, "path": shown, "size_bytes": size, "error": why}))
        elif shown is not None:
            screen.say(f"saved  {shown}")
        else:
            screen.note(f"error: {printable(file.name)}: {why}")


async def _wanted(client: AsyncMoragClient, source: str, files: Sequence[str]) -> Sequence[Wanted]:
    """What is asked for. Raises ApiError where it has to be asked what there is."""
    is_r3 = await client.release() == "r3"
    if "/" in source:
        return [_by_place(place, is_r3=is_r3) for place in dict.fromkeys((source, *files))]
    if is_r3:
        raise NotSupported(_NO_TASKS)
    if files:
        known = {file.name: file.size for file in await what_there_is(client, source)}
        return [Wanted(name=name, task_id=source, size=known.get(name)) for name in dict.fromkeys(files)]
    return await what_there_is(client, source)


def _by_place(place: str, *, is_r3: bool) -> Wanted:
    is_url = place.lower().startswith(("http://", "https://")) or place.lstrip("/").startswith("api/")
    return Wanted(name=place, stage_path=place) if is_r3 and not is_url else Wanted(name=place, url=place)


@contextlib.contextmanager
def _beside(place: Path) -> Iterator[Path]:
    """A name of its own in the same folder; what is there at the end is taken away."""
    hidden = place.with_name(f".morag-{os.urandom(8).hex()}")
    try:
        yield hidden
    finally:
        hidden.unlink(missing_ok=True)


def _put(hidden: Path, place: Path, *, force: bool) -> None:
    """Puts a file in its place. Raises FileExistsError where another came there meanwhile."""
    if force:
        hidden.replace(place)
        return
    try:
        place.hardlink_to(hidden)
    except FileExistsError:
        raise FileExistsError(errno.EEXIST, _THERE) from None
    except OSError:  # a file system without links
        if os.path.lexists(place):
            raise FileExistsError(errno.EEXIST, _THERE) from None
        hidden.replace(place)
