"""`morag-client events` and `replay`: what the inbox holds, and handling it again."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

from morag_client.cli.inboxes import AsJson, Limit, local_time, opened_inbox, printable, show_table
from morag_client.cli.serving import DatabaseUrl, choose_database, load_receiver
from morag_client.errors import RecordNotFound

if TYPE_CHECKING:
    from morag_client.inbox.queries import HandlerRun, Queries, Record

_STATES: Final = ("stored", "retrying", "handled", "failed")
_ANY_STATE: Final = f"{', '.join(_STATES[:-1])} or {_STATES[-1]}"


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(events)
    app.command()(replay)


def events(
    limit: Limit = 50,
    state: Annotated[str | None, typer.Option(help=f"Only those in this state: {_ANY_STATE}.")] = None,
    task: Annotated[str | None, typer.Option(metavar="TASK_ID", help="Only those of this task.")] = None,
    name: Annotated[str | None, typer.Option(help="Only those of this name, such as chunking.completed.")] = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """List what was received, and what became of it."""
    if state is not None and state not in _STATES:
        raise typer.BadParameter(f"expected {_ANY_STATE}", param_hint="--state")
    records = asyncio.run(_newest(database_url, limit=limit, state=state, task_id=task, name=name))
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


async def _newest(database_url: str | None, *, limit: int, **filters: str | None) -> list[Record]:
    async with _queries(database_url) as queries:
        return await queries.newest(limit=limit, **filters)


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

    async with opened_inbox(database_url) as inbox:
        yield Queries(inbox)


def _show(records: Sequence[Record]) -> None:
    show_table(("ID", "Received", "Event", "Task", "%", "State", "Handlers"), map(_row, records))


def _row(record: Record) -> Sequence[str]:
    progress = "" if record.progress_percent is None else f"{record.progress_percent:.0f}"
    runs = "\n".join(map(_said, record.runs))
    task = printable(record.task_id or "")
    return str(record.id), local_time(record.received_at), record.name, task, progress, record.state, runs


def _said(run: HandlerRun) -> str:
    return f"{run.handler}: {run.state}" + (f" ({printable(run.error)})" if run.error else "")
