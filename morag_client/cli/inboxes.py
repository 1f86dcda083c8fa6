"""The inbox that a command line names, and what of it is fit for a terminal."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from morag_client.cli.serving import choose_database
from morag_client.errors import ConfigurationError

if TYPE_CHECKING:
    from morag_client.inbox.inbox import Inbox

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line, for machines.")]
MOST: Final = 1_000_000
Limit = Annotated[int, typer.Option(help="How many, the newest first.", min=1, max=MOST)]

_PATIENCE: Final = 10.0
"""Seconds that the database has for an answer."""


def named_inbox(database_url: str | None, *, table_prefix: str | None = None, may_be_new: bool = False) -> Inbox:
    """The inbox that is meant, not open. Raises ConfigurationError where it is a file that is not there."""
    from morag_client.config import Settings  # noqa: PLC0415  # the CLI's help needs none of these
    from morag_client.inbox.inbox import Inbox  # noqa: PLC0415
    from morag_client.inbox.location import locate  # noqa: PLC0415

    settings = Settings.load(database_url=choose_database(database_url), table_prefix=table_prefix)
    location = locate(settings.database_url)
    if location.is_sqlite and not may_be_new and not Path(location.url.database or "").exists():
        raise ConfigurationError(f"there is no inbox at {location.url.database}; say where it is with --database-url")
    return Inbox(location, prefix=settings.table_prefix, commit_timeout=_PATIENCE, on_stored=lambda *_: None)


@contextlib.asynccontextmanager
async def opened_inbox(database_url: str | None, *, table_prefix: str | None = None) -> AsyncIterator[Inbox]:
    """The inbox that is meant. Raises ConfigurationError where there is none, and makes none."""
    from morag_client.inbox import schema  # noqa: PLC0415

    inbox = named_inbox(database_url, table_prefix=table_prefix)
    try:
        database = inbox.database
        if await schema.revision_of(database) is None:
            raise ConfigurationError(
                f"there is no inbox at {database.location.shown}; say where it is with --database-url,"
                " or make one with: morag-client db upgrade"
            )
        await inbox.open()
        yield inbox
    finally:
        await inbox.close()


def show_table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, whole: str = "") -> None:
    """Prints a table in the width of the terminal; nothing in it is cut off, or it could not be looked for.

    The column `whole` is the last to be folded, so that it can be copied, unless it needs half of the width.
    """
    from rich.cells import cell_len  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    console = Console(highlight=False, markup=False, emoji=False)
    cells = [[printable(cell, keep="\n") for cell in row] for row in rows]
    table = Table(box=None, pad_edge=False)
    for place, heading in enumerate(headings):
        widest = max((cell_len(line) for row in cells for line in row[place].split("\n")), default=0)
        table.add_column(heading, overflow="fold", no_wrap=heading == whole and widest <= console.width // 2)
    for row in cells:
        table.add_row(*row)
    console.print(table)


def printable(text: str, *, keep: str = "") -> str:
    """The text without what a sender could tell a terminal."""
    return "".join(character if character.isprintable() or character in keep else " " for character in text)


def local_time(moment: datetime | None) -> str:
    """The moment as the reader's clock shows it, to the second; with its year where that is not this one."""
    if moment is None:
        return ""
    local = moment.astimezone()
    return f"{local:%m-%d %H:%M:%S}" if local.year == datetime.now().astimezone().year else f"{local:%Y-%m-%d %H:%M:%S}"
