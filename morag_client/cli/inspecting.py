"""`morag-client events`: what the inbox holds."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from morag_client.cli.inboxes import AsJson, Limit, local_time, opened_inbox, printable, show_table
from morag_client.cli.serving import DatabaseUrl
from morag_client.cli.webhook_urls import pairs

if TYPE_CHECKING:
    from morag_client.inbox.queries import HandlerRun, Queries, Record

_STATES: Final = ("stored", "retrying", "handled", "failed")
_ANY_STATE: Final = f"{', '.join(_STATES[:-1])} or {_STATES[-1]}"


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(events)


def events(
    limit: Limit = 50,
    state: Annotated[str | None, typer.Option(help=f"Only those in this state: {_ANY_STATE}.")] = None,
    task: Annotated[str | None, typer.Option(metavar="TASK_ID", help="Only those of this task.")] = None,
    name: Annotated[
        str | None, typer.Option(metavar="PATTERN", help="Only those of such a name: chunking, '*.failed'.")
    ] = None,
    correlation: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Only those that a signed URL gave this id; several: all of them."),
    ] = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """List what was received, and what became of it."""
    if state is not None and state not in _STATES:
        raise typer.BadParameter(f"expected {_ANY_STATE}", param_hint="--state")
    ids = pairs(correlation or (), hint="--correlation")
    records = asyncio.run(_newest(database_url, limit=limit, state=state, task_id=task, name=name, correlation=ids))
    show_events(records, as_json=as_json)


def show_events(records: Sequence[Record], *, as_json: bool = False) -> None:
    """Prints records and what became of them."""
    if not as_json:
        show_table(("ID", "Received", "Event", "Task", "%", "State", "Handlers"), map(_row, records), whole="Task")
        return
    from morag_client.receiver.inspection import described  # noqa: PLC0415  # the CLI's help needs none of it

    for record in records:
        typer.echo(json.dumps(dict(described(record))))


async def _newest(database_url: str | None, *, limit: int, **filters: Any) -> list[Record]:
    async with _queries(database_url) as queries:
        return await queries.newest(limit=limit, **filters)


@contextlib.asynccontextmanager
async def _queries(database_url: str | None) -> AsyncIterator[Queries]:
    from morag_client.inbox.queries import Queries  # noqa: PLC0415  # the CLI's help needs none of it

    async with opened_inbox(database_url) as inbox:
        yield Queries(inbox)


def _row(record: Record) -> Sequence[str]:
    progress = "" if record.progress_percent is None else f"{record.progress_percent:.0f}"
    runs = "\n".join(map(_said, record.runs))
    task = printable(record.task_id or "")
    return str(record.id), local_time(record.received_at), record.name, task, progress, record.state, runs


def run_state(run: HandlerRun) -> str:
    """The state of a run, as a listing says it."""
    return "orphaned, no worker has this handler" if run.state == "orphaned" else run.state


def _said(run: HandlerRun) -> str:
    return f"{run.handler}: {run_state(run)}" + (f" ({printable(run.error)})" if run.error else "")
