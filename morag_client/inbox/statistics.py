"""How much was received, what became of it, and how long steps take."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydantic_core import from_json
from sqlalchemy import ColumnElement, Select, Table, func, literal_column, select
from sqlalchemy.engine import Connection

from morag_client.inbox.database import Database
from morag_client.inbox.event_listing import in_state
from morag_client.inbox.tables import Tables

NEWEST_TASKS: Final = 10_000
_NEWEST_RUNS: Final = 1000
_MOST_STEPS: Final = 64
_FINISHED: Final = ("completed", "cancelled", "failed", "lost")


@dataclass(frozen=True, slots=True)
class LastError:
    """What a handler raised last; `at` is when that run ended."""

    text: str | None
    handler: str
    record_id: int
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Durations:
    """How long a step took, in seconds: so many runs, and what 50, 90 and 99 % of them did not exceed."""

    count: int
    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, slots=True)
class Statistics:
    """How the inbox is, at one moment.

    Exact, and of everything that is stored: `total_received` (records; a delivery that was repeated counts once, one in
    quarantine does not), of which are `successful` (all handlers are through), `failed` (one gave up), `waiting` and
    `retrying`; `dead_letters` (runs that gave up), `orphaned` (runs that wait for a handler that is gone) and
    `quarantined` (deliveries). `last_error` is the last one among the newest 1,000 dead letters and the 1,000 runs that
    will be retried last.

    Of the newest 10,000 tasks: `tasks` (how many are in each state) and `steps` (how long completed steps took, by
    name, the 64 most frequent ones).
    """

    total_received: int
    successful: int
    failed: int
    waiting: int
    retrying: int
    dead_letters: int
    orphaned: int
    quarantined: int
    last_error: LastError | None
    tasks: Mapping[str, int]
    steps: Mapping[str, Durations]

    @property
    def success_rate(self) -> float | None:
        """The successful among the records that are through, from 0 to 1; None where there are none."""
        return _rate(self.successful, self.successful + self.failed)

    @property
    def task_success_rate(self) -> float | None:
        """The completed among the tasks that have ended, from 0 to 1; None where there are none."""
        return _rate(self.tasks.get("completed", 0), sum(self.tasks.get(state, 0) for state in _FINISHED))


async def statistics_of(database: Database, *, patience: float) -> Statistics:
    """What is stored, counted. Raises InboxUnavailable where that takes longer than `patience` (seconds)."""
    tables = database.tables
    counting = _counting(tables, is_sqlite=database.is_sqlite)
    counts = await database.read(
        lambda connection: dict(connection.execute(counting).mappings().one()), patience=patience
    )
    last_error = await database.read(lambda connection: _last_error(connection, tables), patience=patience)
    newest = _newest_tasks(tables)
    tasks = await database.read(lambda connection: connection.execute(newest).all(), patience=patience)
    # Some 70,000 steps: the event loop has deliveries to answer.
    steps = await asyncio.to_thread(durations_of, [row.steps for row in tasks if row.steps])
    waits_or_failed = counts["failed"] + counts["waiting"] + counts["retrying"]
    return Statistics(
        **counts,
        successful=counts["total_received"] - waits_or_failed,
        last_error=last_error,
        tasks=dict(Counter(row.state or "pending" for row in tasks)),
        steps=steps,
    )


def _counting(tables: Tables, *, is_sqlite: bool) -> Select[Any]:
    """One statement, so that all counts are of the same moment."""
    events = tables.events
    # SQLite counts a million rows in 50 ms; but it numbers them without gaps, and none is ever removed.
    total = select(func.coalesce(func.max(events.c.id), 0)) if is_sqlite else select(func.count()).select_from(events)
    return select(
        total.scalar_subquery().label("total_received"),
        _count(events, events.c.state == literal_column("'stored'")).label("waiting"),
        _count(events, in_state(events, "retrying")).label("retrying"),
        _count(events, in_state(events, "failed")).label("failed"),
        _count(tables.runs, tables.runs.c.state == literal_column("'failed'")).label("dead_letters"),
        _count(tables.runs, tables.runs.c.state == literal_column("'orphaned'")).label("orphaned"),
        _count(tables.quarantine).label("quarantined"),
    )


def _count(table: Table, *conditions: ColumnElement[bool]) -> Any:
    return select(func.count()).select_from(table).where(*conditions).scalar_subquery()


def _last_error(connection: Connection, tables: Tables) -> LastError | None:
    runs = tables.runs
    columns = select(runs.c.error, runs.c.handler, runs.c.record_id, runs.c.finished_at).limit(_NEWEST_RUNS)
    dead = columns.where(runs.c.state == literal_column("'failed'")).order_by(runs.c.id.desc())
    retried = columns.where(runs.c.next_attempt_at.is_not(None)).order_by(runs.c.next_attempt_at.desc())
    found = [
        LastError(*row)
        for statement in (dead, retried)
        for row in connection.execute(statement)
        if row.error is not None and row.finished_at is not None
    ]
    return max(found, key=lambda error: (error.at, error.record_id), default=None)


def _newest_tasks(tables: Tables) -> Select[Any]:
    tasks = tables.tasks
    newest = select(tasks.c.state, tasks.c.steps).where(tasks.c.first_record_id.is_not(None))
    return newest.order_by(tasks.c.first_record_id.desc()).limit(NEWEST_TASKS)


def durations_of(steps: Iterable[str]) -> dict[str, Durations]:
    """By step, the most frequent first; `steps` are those of a task each, as they are stored."""
    seconds: dict[str, list[float]] = {}
    for stored in steps:
        for name, step in from_json(stored).items():
            took = _seconds(step)
            if took is not None:
                seconds.setdefault(name, []).append(took)
    frequent = sorted(seconds, key=lambda name: (-len(seconds[name]), name))[:_MOST_STEPS]
    return {name: _percentiles(sorted(seconds[name])) for name in frequent}


def _seconds(step: Mapping[str, Any]) -> float | None:
    started_at, finished_at = step["started_at"], step["finished_at"]
    if step["status"] != "completed" or started_at is None or finished_at is None:
        return None
    took = (datetime.fromisoformat(finished_at) - datetime.fromisoformat(started_at)).total_seconds()
    return took if took >= 0 else None  # clocks of a sender can be set back


def _percentiles(ordered: Sequence[float]) -> Durations:
    count = len(ordered)
    p50, p90, p99 = (ordered[math.ceil(share * count / 100) - 1] for share in (50, 90, 99))
    return Durations(count, p50, p90, p99)


def _rate(part: int, whole: int) -> float | None:
    return part / whole if whole else None
