"""`morag-client tasks`: how the tasks are that events told of, and one of them with all its events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

import typer

from morag_client.cli.inboxes import MOST, AsJson, local_time, opened_inbox, printable, show_table
from morag_client.cli.inspecting import run_state
from morag_client.cli.serving import DatabaseUrl
from morag_client.errors import RecordNotFound

if TYPE_CHECKING:
    from morag_client.inbox.queries import HandlerRun, Record
    from morag_client.progress.state import State, TaskState

_STATES: Final = ("pending", "running", "completed", "cancelled", "failed", "lost")
_ANY_STATE: Final = f"{', '.join(_STATES[:-1])} or {_STATES[-1]}"
_EXACT_BELOW: Final = 10.0
_MINUTE: Final = 60.0


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(tasks)


def tasks(
    task_id: Annotated[
        str | None,
        typer.Argument(metavar="[TASK_ID]", help="Show this one, with its steps and its events; a ref will do."),
    ] = None,
    limit: Annotated[
        int,
        typer.Option(help="How many tasks, the newest first; with TASK_ID, how many of its events.", min=1, max=MOST),
    ] = 50,
    state: Annotated[str | None, typer.Option(help=f"Only those in this state: {_ANY_STATE}.")] = None,
    document: Annotated[str | None, typer.Option(metavar="DOCUMENT_ID", help="Only those of this document.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only those of this tenant; with TASK_ID, whose it is.")] = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """List the tasks that events told of, or show one: where it is, how long its steps took, what its handlers did.

    A task is known once a receiver with handlers has looked at its first event.
    """
    if state is not None and state not in _STATES:
        raise typer.BadParameter(f"expected {_ANY_STATE}", param_hint="--state")
    if task_id is not None and (state is not None or document is not None):
        raise typer.BadParameter("--state and --document choose among tasks; leave them out with a TASK_ID")
    if task_id is None:
        known = cast("State | None", state)
        found = asyncio.run(_newest(database_url, limit=limit, state=known, document_id=document, tenant=tenant))
        _show_all(found, as_json=as_json)
        return
    try:
        task, events = asyncio.run(_one(database_url, task_id, tenant=tenant or "", limit=limit))
    except RecordNotFound as error:
        whose = f"of tenant {tenant!r}" if tenant else "without a tenant (--tenant says whose it is)"
        when = "; what a receiver without handlers has stored is known once one with handlers has looked at it"
        typer.echo(f"error: {printable(f'{error} {whose}{when}')}", err=True)
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps(as_object(task) | {"events": [_event_as_object(event) for event in events[:limit]]}))
    else:
        _show(task, events, limit=limit)


def duration(seconds: float | None) -> str:
    """So many seconds, as one says it; nothing where that is not known."""
    if seconds is None:
        return ""
    if seconds < _MINUTE:
        return f"{seconds:.2f} s" if seconds < _EXACT_BELOW else f"{seconds:.1f} s"
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {left:02} s"


async def _newest(database_url: str | None, *, limit: int, **filters: Any) -> list[TaskState]:
    from morag_client.progress.tasks import TaskQueries  # noqa: PLC0415  # the CLI's help needs none of it

    async with opened_inbox(database_url) as inbox:
        return await TaskQueries(inbox).newest(limit=limit, **filters)


async def _one(
    database_url: str | None, task_id: str, *, tenant: str, limit: int
) -> tuple[TaskState, Sequence[Record]]:
    """The task, and one event more than is wanted, where there are so many."""
    from morag_client.progress.tasks import TaskQueries  # noqa: PLC0415

    async with opened_inbox(database_url) as inbox:
        queries = TaskQueries(inbox)
        which = {"task_id": task_id}
        try:
            task = await queries.get(**which, tenant=tenant)
        except RecordNotFound as unknown:
            which = {"ref": task_id}
            try:
                task = await queries.get(**which, tenant=tenant)
            except RecordNotFound:
                raise unknown from None
        return task, await queries.events(**which, tenant=tenant, limit=limit + 1)


def as_object(task: TaskState) -> dict[str, Any]:
    """The task as JSON has it."""
    from pydantic_core import to_jsonable_python  # noqa: PLC0415

    steps = {name: asdict(step) | {"seconds": step.seconds} for name, step in task.steps.items()}
    described: dict[str, Any] = to_jsonable_python(asdict(task) | {"seconds": task.seconds, "steps": steps})
    return described


def _event_as_object(event: Record) -> Mapping[str, Any]:
    from morag_client.receiver.inspection import described  # noqa: PLC0415

    return described(event)


def _show_all(found: Sequence[TaskState], *, as_json: bool) -> None:
    if as_json:
        for task in found:
            typer.echo(json.dumps(as_object(task)))
    else:
        show_table(("Task", "State", "Started"), map(_row, found), whole="Task")


def _row(task: TaskState) -> Sequence[str]:
    names = [_named(task), task.document_id or "", f"of {task.tenant}" if task.tenant else ""]
    has_ended_well = task.state == "completed"
    at = "" if has_ended_well else task.step or task.stage
    states = [
        task.state if has_ended_well else f"{task.state}, {task.progress:.0f} %",
        f"at {at}" if at else "",
        task.error or "",
    ]
    took = f"took {duration(task.seconds)}" if task.seconds is not None else ""
    return _below(names), _below(states), _below([local_time(task.started_at), took])


def _named(task: TaskState) -> str:
    """The task's id; the ref of its URL where no event stated one."""
    return task.task_id or task.correlation.get("ref", "")


def _below(said: Sequence[str]) -> str:
    """One below the other, where there is something."""
    return "\n".join(printable(line) for line in said if line)


def _show(task: TaskState, events: Sequence[Record], *, limit: int) -> None:
    for label, said in _facts(task):
        if said:
            typer.echo(f"{label:<12}{printable(said)}")
    if task.steps:
        typer.echo()
        show_table(("Step", "Status", "Started", "Finished", "Took"), _steps(task))
    typer.echo()
    show_table(("No.", "ID", "Received", "Event", "Handlers"), map(_event_row, events[:limit]), whole="Event")
    if len(events) > limit:
        shown = "This is its first event" if limit == 1 else f"These are its first {limit:,} events"
        typer.echo(f"\n{shown}; --limit shows more.")


def _facts(task: TaskState) -> Iterator[tuple[str, str | None]]:
    at = task.step or task.stage
    yield "Task", _named(task)
    yield "Tenant", task.tenant
    yield "Document", task.document_id
    yield "State", f"{task.state}, {task.progress:.0f} %" + (f", at {at}" if at else "")
    yield "Message", task.message
    yield "Error", task.error and task.error + (f" ({task.error_code})" if task.error_code else "")
    yield "Started", local_time(task.started_at)
    took = f" (took {duration(task.seconds)})" if task.seconds is not None else ""
    yield "Finished", local_time(task.finished_at) + took
    late = f", {task.late} of them came late" if task.late else ""
    yield "Events", f"{task.sequence}{late}, the last one at {local_time(task.updated_at)}" if task.updated_at else ""
    yield "Your ids", ", ".join(f"{name}={value}" for name, value in task.correlation.items())


def _steps(task: TaskState) -> Iterator[Sequence[str]]:
    for name, step in task.steps.items():
        times = local_time(step.started_at), local_time(step.finished_at)
        yield printable(name), step.status, *times, duration(step.seconds)


def _event_row(event: Record) -> Sequence[str]:
    number = "" if event.sequence is None else f"{event.sequence}{' late' if event.is_late else ''}"
    runs = _below([_said(run) for run in event.runs]) or ("no handlers" if event.state == "handled" else event.state)
    return number, str(event.id), local_time(event.received_at), printable(event.name), runs


def _said(run: HandlerRun) -> str:
    attempt = f", attempt {run.attempts}" if run.attempts > 1 else ""
    again = f", again at {local_time(run.next_attempt_at)}" if run.next_attempt_at else ""
    error = f" ({printable(run.error)})" if run.error else ""
    return f"{run.handler}: {run_state(run)}{attempt}{again}{error}"
