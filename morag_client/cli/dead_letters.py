"""`morag-client dead-letters`: the handlers' runs that gave up, looked at, tried again, or given up for good."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from morag_client.cli.acting import Why, Yes, counted, login_name, make_sure, need_answer, progress_bar
from morag_client.cli.inboxes import AsJson, Limit, local_time, opened_inbox, printable, show_table
from morag_client.cli.serving import DatabaseUrl
from morag_client.events.payloads import as_text

if TYPE_CHECKING:
    from morag_client.inbox.dead_letters import DeadLetter, DeadLetterFilter, Retried
    from morag_client.inbox.queries import Record

_WHICH: Final = "say which dead letters: ID..., --handler, --name, --task, or --all"

_Ids = Annotated[list[int] | None, typer.Argument(metavar="ID", help="Ids of dead letters, as `list` shows them.")]
_Handler = Annotated[str | None, typer.Option(help="Only those of this handler.")]
_Name = Annotated[
    str | None, typer.Option(metavar="PATTERN", help="Only those of events of such a name: chunking, '*.failed'.")
]
_Task = Annotated[str | None, typer.Option(metavar="TASK_ID", help="Only those of this task.")]
_Orphans = Annotated[bool, typer.Option("--orphans", help="Runs that wait for a handler that is gone, instead.")]
_All = Annotated[bool, typer.Option("--all", help="All of them.")]


def register(app: typer.Typer) -> None:
    """Adds the group of commands."""
    group = typer.Typer(no_args_is_help=True, help="Handlers' runs that gave up: list, show, retry or discard them.")
    group.command("list")(list_them)
    for command in (show, retry, discard):
        group.command()(command)
    app.add_typer(group, name="dead-letters")


def list_them(
    limit: Limit = 50,
    handler: _Handler = None,
    name: _Name = None,
    task: _Task = None,
    orphans: _Orphans = False,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """List the runs that gave up, and why."""
    letters = asyncio.run(_newest(database_url, _filter(None, handler, name, task, orphaned=orphans), limit=limit))
    if as_json:
        for letter in letters:
            typer.echo(json.dumps(_described(letter)))
        return
    show_table(("ID", "Gave up", "Record", "Event", "Task", "Handler", "Error"), map(_row, letters), whole="Task")


def show(
    dead_letter_id: Annotated[int, typer.Argument(metavar="ID", help="Its id, as `list` shows it.")],
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show one with its traceback, its attempts and its event."""
    letter, record = asyncio.run(_one(database_url, dead_letter_id))
    payload = None if record.body is None else json.loads(record.body)
    if as_json:
        about = {"received_at": as_text(record.received_at), "payload": payload}
        typer.echo(json.dumps({**_described(letter), "traceback": letter.traceback, "event": about}))
        return
    run = next((run for run in record.runs if run.handler == letter.handler), None)
    about = {
        "Dead letter": str(letter.id),
        "Handler": letter.handler,
        "Waits for": f"a handler {letter.handler}; no worker has had one" if letter.state == "orphaned" else "",
        "Attempts": str(letter.attempts),
        "Last attempt": f"{local_time(run.started_at if run else None)} to {local_time(letter.finished_at)}",
        "Error": letter.error or "",
        "Record": f"{letter.record_id}, received {local_time(record.received_at)}",
        "Event": letter.event_name,
        "Task": letter.task_id or "",
        "Other handlers": ", ".join(f"{one.handler}: {one.state}" for one in record.runs if one is not run),
    }
    for heading, value in about.items():
        if value:
            typer.echo(f"{heading:<16}{printable(value)}")
    shown = "its body is no longer kept" if payload is None else json.dumps(payload, indent=2, ensure_ascii=False)
    for text in (letter.traceback or "there is no traceback", shown):
        typer.echo(f"\n{printable(text.rstrip(), keep=chr(10))}")


def retry(
    ids: _Ids = None,
    handler: _Handler = None,
    name: _Name = None,
    task: _Task = None,
    orphans: _Orphans = False,
    everything: _All = False,
    why: Why = None,
    yes: Yes = False,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Let handlers try again, with all their attempts.

    A running receiver on the same database picks them up within a second or two. Asks, unless all are named by id.
    """
    wanted = _chosen(ids, handler, name, task, orphaned=orphans, everything=everything)
    number, unknown = _sure("Try {} again?", database_url, wanted, yes=yes or _is_named(wanted))
    done = asyncio.run(_retry(database_url, wanted, number=number, why=why))
    if as_json:
        typer.echo(json.dumps({"retried": done.retried, "pruned": done.pruned}))
    else:
        typer.echo(f"{counted(done.retried, _kind(wanted))} to be tried again")
    if done.pruned:
        said = counted(done.pruned, _kind(wanted))
        typer.echo(f"error: {said} of events without a body any more, which cannot be handled again", err=True)
    _complain(unknown)
    if unknown or done.pruned:
        raise typer.Exit(1)


def discard(
    ids: _Ids = None,
    handler: _Handler = None,
    name: _Name = None,
    task: _Task = None,
    orphans: _Orphans = False,
    everything: _All = False,
    why: Why = None,
    yes: Yes = False,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Give runs up for good. Their errors stay with their records."""
    wanted = _chosen(ids, handler, name, task, orphaned=orphans, everything=everything)
    number, unknown = _sure("Give {} up for good?", database_url, wanted, yes=yes)
    done = asyncio.run(_discard(database_url, wanted, number=number, why=why))
    typer.echo(json.dumps({"discarded": done}) if as_json else f"{counted(done, _kind(wanted))} given up")
    _complain(unknown)
    if unknown:
        raise typer.Exit(1)


def _chosen(
    ids: Sequence[int] | None,
    handler: str | None,
    name: str | None,
    task: str | None,
    *,
    orphaned: bool,
    everything: bool,
) -> DeadLetterFilter:
    """Raises typer.BadParameter where it is not said which, or that all are meant beside which."""
    wanted = _filter(ids, handler, name, task, orphaned=orphaned)
    if wanted.is_everything != everything:
        raise typer.BadParameter("--all means all of them; leave the rest out" if everything else _WHICH)
    return wanted


def _filter(
    ids: Sequence[int] | None, handler: str | None, name: str | None, task: str | None, *, orphaned: bool
) -> DeadLetterFilter:
    from morag_client.inbox.dead_letters import DeadLetterFilter  # noqa: PLC0415  # the CLI's help needs none of it

    return DeadLetterFilter(ids=ids or None, handler=handler, name=name, task_id=task, orphaned=orphaned)


def _kind(wanted: DeadLetterFilter) -> str:
    return "orphan" if wanted.orphaned else "dead letter"


def _is_named(wanted: DeadLetterFilter) -> bool:
    return wanted.ids is not None and (wanted.handler, wanted.name, wanted.task_id) == (None, None, None)


def _sure(question: str, database_url: str | None, wanted: DeadLetterFilter, *, yes: bool) -> tuple[int, Sequence[int]]:
    """How many are meant, and the ids that are none of them; asks whether it is meant."""
    need_answer(yes=yes)
    number, unknown = asyncio.run(_counted(database_url, wanted))
    if number:
        make_sure(question.format(counted(number, _kind(wanted))), yes=yes)
    return number, unknown


def _complain(unknown: Sequence[int]) -> None:
    for dead_letter_id in unknown:
        typer.echo(f"error: there is no dead letter {dead_letter_id}", err=True)


async def _newest(database_url: str | None, wanted: DeadLetterFilter, *, limit: int) -> list[DeadLetter]:
    from morag_client.inbox import dead_letters  # noqa: PLC0415  # the CLI's help needs none of it

    async with opened_inbox(database_url) as inbox:
        return await dead_letters.newest(inbox.database, wanted, limit=limit)


async def _one(database_url: str | None, dead_letter_id: int) -> tuple[DeadLetter, Record]:
    from morag_client.inbox import dead_letters  # noqa: PLC0415
    from morag_client.inbox.queries import Queries  # noqa: PLC0415

    async with opened_inbox(database_url) as inbox:
        letter = await dead_letters.get(inbox.database, dead_letter_id)
        return letter, await Queries(inbox).get(letter.record_id)


async def _counted(database_url: str | None, wanted: DeadLetterFilter) -> tuple[int, Sequence[int]]:
    from morag_client.inbox import dead_letters  # noqa: PLC0415

    async with opened_inbox(database_url) as inbox:
        unknown = await dead_letters.missing(inbox.database, wanted.ids or ())
        return await dead_letters.count(inbox.database, wanted), unknown


async def _retry(database_url: str | None, wanted: DeadLetterFilter, *, number: int, why: str | None) -> Retried:
    from morag_client.inbox import dead_letters  # noqa: PLC0415

    with progress_bar("Retrying", total=number) as advance:
        async with opened_inbox(database_url) as inbox:
            return await dead_letters.retry(inbox.database, wanted, who=login_name(), why=why, on_batch=advance)


async def _discard(database_url: str | None, wanted: DeadLetterFilter, *, number: int, why: str | None) -> int:
    from morag_client.inbox import dead_letters  # noqa: PLC0415

    with progress_bar("Discarding", total=number) as advance:
        async with opened_inbox(database_url) as inbox:
            return await dead_letters.discard(inbox.database, wanted, who=login_name(), why=why, on_batch=advance)


def _described(letter: DeadLetter) -> dict[str, Any]:
    """What stands in a listing, as JSON can say it."""
    given = {key: value for key, value in asdict(letter).items() if key != "traceback"}
    return {key: as_text(value) if isinstance(value, datetime) else value for key, value in given.items()}


def _row(letter: DeadLetter) -> Sequence[str]:
    return (
        str(letter.id),
        local_time(letter.finished_at),
        str(letter.record_id),
        letter.event_name,
        letter.task_id or "",
        letter.handler,
        letter.error or "",
    )
