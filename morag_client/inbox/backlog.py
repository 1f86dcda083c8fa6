"""What waits: for handlers, for another attempt, for somebody to act."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Select, String, func, literal, literal_column, select, union_all
from sqlalchemy.engine import Connection

from morag_client.inbox.database import Database
from morag_client.inbox.event_listing import in_state
from morag_client.inbox.tables import Tables

BY_HANDLER_WINDOW: Final = 10_000
"""So many runs of a kind are told apart by handler, the newest ones and those that are due first."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits, all exact: records by state, runs, and deliveries in quarantine.

    `oldest_waiting` is when the first record came that its handlers have not looked at. `handlers` counts by handler
    the runs that are `retrying`, `failed` or `orphaned`, of the newest 10,000 of each kind.
    """

    waiting: int
    retrying: int
    failed: int
    dead_letters: int
    orphaned: int
    quarantined: int
    oldest_waiting: datetime | None
    handlers: Mapping[str, Mapping[str, int]]


async def backlog_of(database: Database, *, patience: float) -> Backlog:
    """What waits by now. Raises InboxUnavailable."""

    def work(connection: Connection) -> Backlog:
        handlers: dict[str, dict[str, int]] = {}
        for row in connection.execute(by_handler(database.tables)):
            handlers.setdefault(row.handler, {})[row.kind] = row.number
        counts = connection.execute(counting(database.tables)).mappings().one()
        oldest = connection.execute(oldest_waiting(database.tables)).scalar()
        return Backlog(**counts, oldest_waiting=oldest, handlers=handlers)

    return await database.read(work, patience=patience)


def counting(tables: Tables) -> Select[Any]:
    """One statement, so that all counts are of the same moment; each has an index of just what it counts."""
    events, runs = tables.events, tables.runs

    def count(*conditions: Any) -> Any:
        return select(func.count()).where(*conditions).scalar_subquery()

    return select(
        count(in_state(events, "stored")).label("waiting"),
        count(in_state(events, "retrying")).label("retrying"),
        count(in_state(events, "failed")).label("failed"),
        count(runs.c.state == literal_column("'failed'")).label("dead_letters"),
        count(runs.c.state == literal_column("'orphaned'")).label("orphaned"),
        select(func.count()).select_from(tables.quarantine).scalar_subquery().label("quarantined"),
    )


def by_handler(tables: Tables) -> Any:
    """How many runs of each handler wait for another attempt, gave up, or have lost their handler."""
    runs = tables.runs
    dead = select(runs.c.handler).where(runs.c.state == literal_column("'failed'")).order_by(runs.c.id.desc())
    due = select(runs.c.handler).where(runs.c.next_attempt_at.is_not(None)).order_by(runs.c.next_attempt_at)
    gone = select(runs.c.handler).where(runs.c.state == literal_column("'orphaned'")).order_by(runs.c.handler)
    parts = []
    for kind, statement in (("failed", dead), ("retrying", due), ("orphaned", gone)):
        some = statement.limit(BY_HANDLER_WINDOW).subquery()
        counted = select(literal(kind, String).label("kind"), some.c.handler, func.count().label("number"))
        parts.append(counted.group_by(some.c.handler))
    return union_all(*parts)


def oldest_waiting(tables: Tables) -> Select[Any]:
    """When the first record came that waits for its handlers."""
    events = tables.events
    return select(events.c.received_at).where(in_state(events, "stored")).order_by(events.c.id).limit(1)
