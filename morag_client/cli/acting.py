"""What commands have in common that change what is stored: who asks for it, whether it is meant, how far it is."""

from __future__ import annotations

import contextlib
import getpass
import os
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Final

import typer

from morag_client.errors import ConfigurationError

Why = Annotated[str | None, typer.Option(metavar="TEXT", help="The reason, for the audit.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; needed where there is no terminal to ask at.")]

_LONG: Final = 500
"""As many take long enough to show how far it is."""


def login_name() -> str:
    """Who asks, for the audit."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user may have no name
        return f"uid {os.getuid()}" if hasattr(os, "getuid") else "unknown"


def need_answer(*, yes: bool) -> None:
    """Makes sure that somebody can be asked, before anything is looked for: a script does not work on some days only.

    Raises ConfigurationError where nobody can be and `--yes` was not said.
    """
    if not yes and not (sys.stdin is not None and sys.stdin.isatty()):
        raise ConfigurationError("there is no terminal to ask at whether this is meant; say so with --yes")


def make_sure(question: str, *, yes: bool) -> None:
    """Asks, unless that was answered with `--yes`. Raises typer.Abort for a no, ConfigurationError as `need_answer`."""
    need_answer(yes=yes)
    if not yes:
        typer.confirm(question, abort=True, err=True)


def counted(number: int, one: str, several: str | None = None) -> str:
    """The number with what is counted: `1 record`, `1,200 records`."""
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"


@contextlib.contextmanager
def progress_bar(what: str, *, total: int, least: int = _LONG) -> Iterator[Callable[[int], None]]:
    """A bar on stderr, where that is a terminal and there is much to do (`least`); tell it how many more are done."""
    from rich.console import Console  # noqa: PLC0415  # the CLI's help needs none of it
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    is_shown = console.is_terminal and total >= least
    with Progress(*columns, console=console, transient=True, disable=not is_shown) as progress:
        bar = progress.add_task(what, total=total)
        yield lambda number: progress.advance(bar, number)
