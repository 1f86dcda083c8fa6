"""Which tasks may have gone silent: what is written of them, and what came since and was not looked at yet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Select, select
from sqlalchemy.engine import Connection

from morag_client.inbox.inbox import Inbox
from morag_client.inbox.rows import STORED

_AT_ONCE: Final = 500
MOST_ENDED: Final = 1000
MOST_WAITING: Final = 20_000
_TOLD: Final = (
    *("id", "task_key", "tenant", "task_id", "document_id", "name", "step", "status", "progress_percent"),
    *("timestamp", "error_message", "correlation", "source", "received_at"),
)

Row = Mapping[str, Any]


class Waiting(NamedTuple):
    """A record that nobody has numbered yet, by its columns."""

    record_id: int
    task_key: bytes
    row: Row


class Unfinished:
    """What can be asked of tasks that have not ended well. Everything here raises InboxUnavailable."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._events = inbox.database.tables.events
        self._tasks = inbox.database.tables.tasks

    async def in_state(self, state: str, *, silent_since: datetime) -> AsyncIterator[list[Row]]:
        """The rows of the tasks of a state that were silent by then, in portions, the oldest tasks first."""
        tasks, after = self._tasks, -1
        while True:
            found = await self._rows(
                select(tasks)
                .where(tasks.c.state == state, tasks.c.first_record_id > after, tasks.c.updated_at <= silent_since)
                .order_by(tasks.c.first_record_id)
                .limit(_AT_ONCE)
            )
            if found:
                yield found
            if len(found) < _AT_ONCE:
                return
            after = found[-1]["first_record_id"]

    async def ended(self, state: str) -> list[Row]:
        """The rows of the newest MOST_ENDED tasks of a state, newest first."""
        tasks = self._tasks
        newest = select(tasks).where(tasks.c.state == state, tasks.c.first_record_id.is_not(None))
        return await self._rows(newest.order_by(tasks.c.first_record_id.desc()).limit(MOST_ENDED))

    async def of_keys(self, keys: Sequence[bytes]) -> list[Row]:
        """The rows of the tasks with these keys, as far as there are some."""
        found: list[Row] = []
        for start in range(0, len(keys), _AT_ONCE):
            some = self._tasks.c.key.in_(keys[start : start + _AT_ONCE])
            found += await self._rows(select(self._tasks).where(some))
        return found

    async def waiting(self, keys: Sequence[bytes] | None = None) -> list[Waiting]:
        """The newest MOST_WAITING records of tasks, or of these, that wait and have no number, in their order."""
        events = self._events
        waits = events.c.state == STORED, events.c.sequence.is_(None), events.c.task_key.is_not(None)
        newest = select(*(events.c[name] for name in _TOLD)).where(*waits).order_by(events.c.id.desc())
        if keys is not None:
            newest = newest.where(events.c.task_key.in_(keys))
        found: list[Row] = []
        while len(found) < MOST_WAITING:
            # In portions: the event loop has deliveries to answer.
            older = newest if not found else newest.where(events.c.id < found[-1]["id"])
            portion = await self._rows(older.limit(_AT_ONCE))
            found += portion
            if len(portion) < _AT_ONCE:
                break
        return [Waiting(row["id"], row["task_key"], row) for row in reversed(found)]

    async def _rows(self, statement: Select[Any]) -> list[Row]:
        def work(connection: Connection) -> list[Row]:
            return [dict(row) for row in connection.execute(statement).mappings()]

        return await self._inbox.database.read(work)
