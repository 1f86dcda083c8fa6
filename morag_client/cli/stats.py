"""`morag-client stats`: how much was received, what became of it, and how long steps take."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Final

import typer

from morag_client.cli.inboxes import local_time, opened_inbox, printable, show_table
from morag_client.cli.serving import DatabaseUrl
from morag_client.cli.tasks import duration

if TYPE_CHECKING:
    from morag_client.inbox.statistics import Statistics

_STATES: Final = ("completed", "cancelled", "failed", "lost", "running", "pending")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(stats)


def stats(
    database_url: DatabaseUrl = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object, for machines.")] = False,
) -> None:
    """Count what was received and what became of it, and say how long steps take.

    Events and dead letters are counted exactly; tasks and steps are those of the newest 10,000 tasks.
    """
    found = asyncio.run(_counted(database_url))
    if as_json:
        from pydantic_core import to_jsonable_python  # noqa: PLC0415  # the CLI's help needs none of it

        rates = {"success_rate": found.success_rate, "task_success_rate": found.task_success_rate}
        typer.echo(json.dumps(to_jsonable_python(asdict(found) | rates)))
    else:
        _show(found)


async def _counted(database_url: str | None) -> Statistics:
    from morag_client.inbox.statistics import statistics_of  # noqa: PLC0415

    async with opened_inbox(database_url) as inbox:
        return await statistics_of(inbox.database, patience=inbox.patience)


def _show(found: Statistics) -> None:
    typer.echo("Events, all that are stored")
    for label, number, remark in _counts(found):
        _line(label, number, remark)
    for line in _last_error(found):
        typer.echo(line)
    typer.echo(f"\nTasks, {_which_tasks(found)}")
    for state in _STATES:
        if found.tasks.get(state, 0) or state == "completed":
            rate = found.task_success_rate if state == "completed" else None
            _line(state, found.tasks.get(state, 0), _share(rate, of="those that have ended"))
    if found.steps:
        typer.echo("\nCompleted steps of these tasks, of which 50, 90 and 99 % took no longer than")
        show_table(("  step", "completed", *(f"{share:>9} %" for share in (50, 90, 99))), _steps(found))


def _counts(found: Statistics) -> Iterator[tuple[str, int, str]]:
    yield "received", found.total_received, ""
    yield "handled", found.successful, _share(found.success_rate, of="those that are through")
    yield "failed", found.failed, f"dead letters: {found.dead_letters:,}" if found.dead_letters else ""
    orphaned = f"handlers' runs without a handler (orphaned): {found.orphaned:,}" if found.orphaned else ""
    yield "retrying", found.retrying, orphaned
    yield "waiting", found.waiting, ""
    yield "quarantined", found.quarantined, "not among those received" if found.quarantined else ""


def _line(label: str, number: int, remark: str) -> None:
    typer.echo(f"  {label:<12}{number:>12,}  {remark}".rstrip())


def _share(rate: float | None, *, of: str) -> str:
    """The rate as a percentage; 100 % only where it is."""
    if rate is None:
        return ""
    return f"{'100' if rate == 1 else f'{min(rate * 100, 99.9):.1f}'} % of {of}"


def _last_error(found: Statistics) -> Iterator[str]:
    error = found.last_error
    if error is not None:
        yield f"\nLast error: {local_time(error.at)}, {printable(error.handler)}, event {error.record_id}"
        yield f"  {printable(error.text or '')}"


def _which_tasks(found: Statistics) -> str:
    from morag_client.inbox.statistics import NEWEST_TASKS  # noqa: PLC0415

    return f"the newest {NEWEST_TASKS:,}" if sum(found.tasks.values()) >= NEWEST_TASKS else "all that are known"


def _steps(found: Statistics) -> Iterator[tuple[str, ...]]:
    for name, took in found.steps.items():
        times = (f"{duration(seconds):>11}" for seconds in (took.p50, took.p90, took.p99))
        yield f"  {printable(name)}", f"{took.count:>9,}", *times
