"""Records page by page, the newest first, without what makes them large."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, Table, and_, func, literal_column, select
from sqlalchemy.engine import Connection

from morag_client.inbox.asking import checked_limit, checked_state
from morag_client.inbox.database import Database
from morag_client.inbox.reopening import name_matches
from morag_client.inbox.replay_criteria import STATES

WINDOW: Final = 20_000
"""Records that one question looks at for which there is no index: by name, or those that were handled."""

_TROUBLED: Final = ("retrying", "failed")
_COLUMNS: Final = (
    "id", "name", "task_id", "document_id", "step", "stage", "status", "progress_percent", "timestamp",
    "error_message", "dialect", "source", "tenant", "state", "sequence", "is_late", "received_at", "task_key",
    "belongs_to",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class EventSummary:
    """A record without its body, headers, correlation and runs."""

    id: int
    name: str
    task_id: str | None
    document_id: str | None
    step: str | None
    stage: str | None
    status: str | None
    progress_percent: float | None
    timestamp: datetime | None
    error_message: str | None
    dialect: str
    source: str
    tenant: str
    state: str
    sequence: int | None
    is_late: bool | None
    received_at: datetime
    task_key: bytes | None
    belongs_to: int | None
    """The event that told the same before, 0 for none in particular; None: nothing did."""


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some records, and the id below which the search goes on; None where it is through."""

    events: list[EventSummary]
    next: int | None


async def page(
    database: Database,
    *,
    limit: int,
    state: str | None = None,
    name: str | None = None,
    before: int | None = None,
    patience: float,
) -> EventPage:
    """The newest records below an id; `name` is a pattern as `@on` takes it, looked for among 20,000 records at once.

    Raises InboxUnavailable, and ConfigurationError for what cannot be asked.
    """
    count = checked_limit(limit)

    def work(connection: Connection) -> EventPage:
        newest = connection.execute(select(func.max(database.tables.events.c.id))).scalar() or 0
        top = newest + 1 if before is None else min(before, newest + 1)
        statement = listing(database, top=top, state=state, name=name).limit(count)
        found = [EventSummary(**row._mapping) for row in connection.execute(statement)]  # noqa: SLF001
        if len(found) == count:
            return EventPage(found, found[-1].id if found[-1].id > 1 else None)
        bottom = top - WINDOW
        return EventPage(found, bottom if _is_windowed(state, name) and bottom > 1 else None)

    return await database.read(work, patience=patience)


def listing(database: Database, *, top: int, state: str | None, name: str | None) -> Select[Any]:
    """The records below an id."""
    events = database.tables.events
    statement = select(*(events.c[column] for column in _COLUMNS)).where(events.c.id < top)
    if state is not None:
        statement = statement.where(in_state(events, checked_state(state, STATES)))
    if name is not None:
        statement = statement.where(name_matches(database, events.c.name, name))
    if _is_windowed(state, name):
        statement = statement.where(events.c.id >= top - WINDOW)
    return statement.order_by(events.c.id.desc())


def in_state(events: Table, state: str) -> ColumnElement[bool]:
    """The condition on a record's state, so that SQLite sees which index is meant.

    It knows an index of some states only where the index's own condition stands in the statement, word by word.
    """
    condition = events.c.state == literal_column(f"'{state}'")
    if state in _TROUBLED:
        words: list[ColumnElement[str]] = [literal_column(f"'{troubled}'") for troubled in _TROUBLED]
        return and_(events.c.state.in_(words), condition)
    return condition


def _is_windowed(state: str | None, name: str | None) -> bool:
    return name is not None or state == "handled"
