"""`morag-client status` and `history`: what MoRAG itself says of tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from morag_client.cli.clients import ApiUrl, ApiVersion, ask, client_of, said, tell
from morag_client.cli.inboxes import AsJson, local_time, printable, show_table
from morag_client.cli.tasks import duration
from morag_client.errors import NotFound

if TYPE_CHECKING:
    from morag_client.api.async_client import AsyncMoragClient
    from morag_client.api.models import HistoryEntry, TaskHistory, TaskStatus

TaskId = Annotated[str, typer.Argument(metavar="TASK", help="The id that MoRAG answered when it took the document.")]

_AT_ONCE: Final = 8
_UNHAPPY: Final = frozenset({"failed", "cancelled", "unknown"})


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(status)
    app.command()(history)


def status(
    task_ids: Annotated[list[str], typer.Argument(metavar="TASK...", help="Ids as MoRAG answered them.")],
    api_url: ApiUrl = None,
    api_version: ApiVersion = "auto",
    as_json: AsJson = False,
) -> None:
    """Ask MoRAG how tasks stand. Exit code 1: one of them failed, was cancelled, or is not known there.

    Some releases answer `pending` for any id that they do not know.
    """
    found = ask(_statuses(list(dict.fromkeys(task_ids)), api_url, api_version))
    known = [answer for answer in found.values() if not isinstance(answer, NotFound)]
    if as_json:
        for one in known:
            tell(one.model_dump(mode="json") | {"state": state_of(one)})
    elif known:
        show_table(("Task", "Status", "Started"), map(_row, known), whole="Task")
        if any(state_of(answer) == "pending" for answer in known):
            typer.echo("pending may also mean that MoRAG does not know the id", err=True)
    for task_id, refusal in found.items():
        if isinstance(refusal, NotFound):
            typer.echo(f"error: {printable(task_id)}: {said(refusal)}", err=True)
    if len(known) < len(found) or any(state_of(answer) in _UNHAPPY for answer in known):
        raise typer.Exit(1)


def history(task_id: TaskId, api_url: ApiUrl = None, api_version: ApiVersion = "auto", as_json: AsJson = False) -> None:
    """Ask MoRAG what happened to a task, newest first: at most 100 entries of the last 7 days.

    Exit code 1: it has none.
    """
    told = ask(_history(task_id, api_url, api_version))
    if as_json:
        for entry in told.history:
            tell({"task_id": told.task_id} | entry.model_dump(mode="json"))
    elif told.history:
        show_table(("Time", "Status", "%", "Message"), map(_entry_row, told.history), whole="Time")
    if not told.history:
        typer.echo(
            f"error: MoRAG knows nothing of {printable(task_id)}: check the id; after 7 days it forgets", err=True
        )
        raise typer.Exit(1)


def state_of(answer: TaskStatus) -> str:
    """The status as every release's is called here; a word of none that is known, as it is."""
    from morag_client.api.standing import of_status  # noqa: PLC0415  # the CLI's help needs none of it

    stands = of_status(answer)
    is_waiting = answer.status.strip().lower() == "pending"
    return "pending" if is_waiting else answer.status if stands is None else stands.standing


async def _statuses(task_ids: Sequence[str], api_url: str | None, api_version: str) -> dict[str, TaskStatus | NotFound]:
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one(client: AsyncMoragClient, task_id: str) -> TaskStatus | NotFound:
        async with turns:
            try:
                return await client.status(task_id)
            except NotFound as error:
                return error

    async with client_of(api_url, api_version) as client:
        # Before the rest: a server that is none of MoRAG's has no tasks either.
        await client.release()
        answers = await asyncio.gather(*(one(client, task_id) for task_id in task_ids))
    return dict(zip(task_ids, answers, strict=True))


async def _history(task_id: str, api_url: str | None, api_version: str) -> TaskHistory:
    async with client_of(api_url, api_version) as client:
        return await client.history(task_id)


def _row(answer: TaskStatus) -> Sequence[str]:
    percent = "" if answer.progress is None else f", {answer.progress * 100:.0f} %"
    texts = [f"{answer.status}{percent}", answer.error or answer.message or ""]
    times = [local_time(answer.started_at or answer.created_at), _took(answer)]
    return printable(answer.task_id), _below(texts), _below(times)


def _took(answer: TaskStatus) -> str:
    began, ended = answer.started_at or answer.created_at, answer.completed_at
    took = "" if began is None or ended is None or ended < began else duration((ended - began).total_seconds())
    if took:
        return f"took {took}"
    left = answer.estimated_time_remaining
    return f"about {duration(left)} to go" if left and ended is None else ""


def _entry_row(entry: HistoryEntry) -> Sequence[str]:
    percent = "" if entry.progress is None else f"{entry.progress * 100:.0f}"
    return local_time(entry.timestamp), printable(entry.status or ""), percent, printable(_told(entry))


def _told(entry: HistoryEntry) -> str:
    known: dict[str, Any] = entry.metadata or {}
    step = known.get("step") or known.get("stage") or known.get("current_step")
    message = entry.message or ""
    return message if not isinstance(step, str) or step in message else f"{step}: {message}"


def _below(lines: Sequence[str]) -> str:
    return "\n".join(printable(line) for line in lines if line)
