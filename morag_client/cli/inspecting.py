"""`morag-client events` and `replay`: what the inbox holds, and handling it again."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from morag_client.cli.serving import DatabaseUrl, choose_database, load_receiver
from morag_client.errors import ConfigurationError, RecordNotFound

if TYPE_CHECKING:
    from morag_client.inbox.inbox import Inbox
    from morag_client.inbox.queries import Queries, Record

_AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line, for machines.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(events)
    app.command()(replay)


def events(
    limit: Annotated[int, typer.Option(help="How many, the newest first.", min=1)] = 50,
    state: Annotated[str | None, typer.Option(help="Only those in this state: stored, handled or failed.")] = None,
    database_url: DatabaseUrl = None,
    as_json: _AsJson = False,
) -> None:
    """List what was received, and what became of it."""
    if state not in {None, "stored", "handled", "failed"}:
        raise typer.BadParameter("expected stored, handled or failed", param_hint="--state")
    records = asyncio.run(_newest(database_url, limit, state))
    if as_json:
        from morag_client.receiver.inspection import described  # noqa: PLC0415

        for record in records:
            typer.echo(json.dumps(dict(described(record))))
    else:
        _show(records)


def replay(
    record_ids: Annotated[list[int], typer.Argument(metavar="ID...", help="Ids of records, as `events` lists them.")],
    app: Annotated[
        str | None, typer.Option("--app", metavar="MODULE:RECEIVER", help="Run the handlers here and now.")
    ] = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Let the failed handlers of records run again (all of them, where none failed).

    A running receiver on the same database picks them up within a second or two.
    """
    if app is not None:
        choose_database(database_url)
        found = asyncio.run(_replay_here(app, record_ids))
    else:
        found = asyncio.run(_reopen(database_url, record_ids))
    if not found:
        raise typer.Exit(1)


async def _newest(database_url: str | None, limit: int, state: str | None) -> list[Record]:
    async with _queries(database_url) as queries:
        return await queries.newest(limit=limit, state=state)


async def _reopen(database_url: str | None, record_ids: list[int]) -> bool:
    complete = True
    async with _queries(database_url) as queries:
        for record_id in record_ids:
            try:
                names = await queries.reopen(record_id)
            except RecordNotFound as error:
                typer.echo(f"error: {error}", err=True)
                complete = False
            else:
                typer.echo(f"record {record_id} waits again for {', '.join(names) or 'its handlers'}")
    return complete


async def _replay_here(app: str, record_ids: list[int]) -> bool:
    receiver = load_receiver(app)
    complete = True
    async with receiver.lifespan():
        for record_id in record_ids:
            try:
                await receiver.replay(record_id)
            except RecordNotFound as error:
                typer.echo(f"error: {error}", err=True)
                complete = False
        await receiver.idle()
        for record_id in record_ids:
            with contextlib.suppress(RecordNotFound):
                record = await receiver.events.get(record_id)
                _show([record])
                complete = complete and record.state == "handled"
    return complete


@contextlib.asynccontextmanager
async def _queries(database_url: str | None) -> AsyncIterator[Queries]:
    from morag_client.inbox.queries import Queries  # noqa: PLC0415  # the CLI's help needs none of it

    inbox = _inbox(database_url)
    await inbox.open()
    try:
        yield Queries(inbox)
    finally:
        await inbox.close()


def _inbox(database_url: str | None) -> Inbox:
    from morag_client.config import Settings  # noqa: PLC0415
    from morag_client.inbox.database import locate  # noqa: PLC0415
    from morag_client.inbox.inbox import Inbox  # noqa: PLC0415

    settings = Settings.load(database_url=choose_database(database_url))
    location = locate(settings.database_url)
    if not Path(location.url.database or "").exists():
        raise ConfigurationError(f"there is no inbox at {location.url.database}; say where it is with --database-url")
    return Inbox(location, prefix=settings.table_prefix, commit_timeout=10.0, on_stored=lambda *_: None)


def _show(records: list[Record]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False)
    for heading in ("ID", "Received", "Event", "Task", "%", "State", "Handlers"):
        table.add_column(heading, overflow="fold")  # a name that is cut cannot be looked for
    for record in records:
        progress = "" if record.progress_percent is None else f"{record.progress_percent:.0f}"
        runs = "\n".join(
            f"{run.handler}: {run.state}" + (f" ({_printable(run.error)})" if run.error else "") for run in record.runs
        )
        received = f"{record.received_at.astimezone():%m-%d %H:%M:%S}"
        task = _printable(record.task_id or "")
        table.add_row(str(record.id), received, record.name, task, progress, record.state, runs)
    Console(highlight=False, markup=False).print(table)


def _printable(text: str) -> str:
    """The text without what a sender could tell a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)
