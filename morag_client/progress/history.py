"""How tasks are by what is stored: what whoever joins is told first, and what a lost connection has missed."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Select, func, select
from sqlalchemy.engine import Connection

from morag_client.errors import DeliveryRejected
from morag_client.inbox.inbox import Inbox
from morag_client.inbox.rows import STORED
from morag_client.progress.scopes import Scope
from morag_client.progress.state import TaskState, from_values
from morag_client.progress.updates import Update, last_state
from morag_client.wire.answer import MADE, read_answered
from morag_client.wire.decoding import decode_object
from morag_client.wire.parsing import read_payload
from morag_client.wire.signed_url import Claims

MOST: Final = 100
"""Of how many tasks somebody who joins is told the last state."""
RECENT: Final = 5000
"""Among how many, the newest, those of a document or a correlation are looked for."""
_MOST_MISSED: Final = 1000


class History:
    """What is asked of the inbox for live progress. Everything here raises InboxUnavailable."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._tables = inbox.database.tables

    async def last(self, scope: Scope) -> list[Update]:
        """The last states of a scope's tasks, those of the newest hundred; what changed last comes last."""
        tasks = self._tables.tasks
        if scope.kind == "task":
            return await self._updates(select(tasks).where(tasks.c.key == scope.key), scope)
        started = tasks.c.first_record_id.is_not(None)
        newest = select(tasks).where(started).order_by(tasks.c.first_record_id.desc())
        if scope.kind == "all" and scope.tenant is None:
            return await self._updates(newest.limit(MOST), scope)
        # Nothing but the order of tasks has an index: somebody who joins must not make the database read all of them.
        recent = newest.limit(RECENT).subquery()
        wanted = select(recent).order_by(recent.c.first_record_id.desc())
        if scope.tenant is not None:
            wanted = wanted.where(recent.c.tenant == scope.tenant)
        if scope.kind == "document":
            wanted = wanted.where(recent.c.document_id == scope.id)
        find = func.instr if self._inbox.database.is_sqlite else func.strpos
        for name, value in scope.ids:
            wanted = wanted.where(find(recent.c.correlation, Claims({name: value}).text[1:-1]) > 0)
        return await self._updates(wanted.limit(MOST), scope)

    async def changed_since(self, moment: datetime) -> list[Update]:
        """The last states of the tasks that had events since then; a walk through all tasks, for the rare case."""
        tasks = self._tables.tasks
        changed = select(tasks).where(tasks.c.updated_at >= moment).order_by(tasks.c.updated_at.desc())
        return await self._updates(changed.limit(_MOST_MISSED), Scope("all", None))

    async def states_of(self, keys: Collection[bytes]) -> dict[bytes, TaskState]:
        """How these tasks are by their rows, those that have one."""
        if not keys:
            return {}
        tasks = self._tables.tasks
        found = await self._updates(select(tasks).where(tasks.c.key.in_(keys)), Scope("all", None))
        return {update.key: update.state for update in found}

    async def first_of_newest_stored(self, count: int) -> int:
        """The id behind which lie the newest records that wait for handlers, so many of them at most."""
        events = self._tables.events
        statement = select(events.c.id).where(events.c.state == STORED).order_by(events.c.id.desc())

        def work(connection: Connection) -> int:
            return connection.execute(statement.offset(count).limit(1)).scalar() or 0

        return await self._inbox.database.read(work, patience=self._inbox.patience)

    async def heartbeats(self) -> dict[str, float]:
        """When each worker was last alive, by the database's clock."""
        workers = self._tables.workers

        def work(connection: Connection) -> dict[str, float]:
            return {row.id: row.heartbeat_at for row in connection.execute(select(workers))}

        return await self._inbox.database.read(work, patience=self._inbox.patience)

    async def _updates(self, statement: Select[Any], scope: Scope) -> list[Update]:
        def work(connection: Connection) -> list[tuple[bytes, TaskState, Any]]:
            rows = connection.execute(statement).all()
            states = [(row.key, from_values(row._asdict())) for row in rows if row.record_id is None]
            mine = [(key, state) for key, state in states if scope.matches(key, state)]
            return [(key, state, self._result(connection, key, state)) for key, state in mine]

        found = await self._inbox.database.read(work, patience=self._inbox.patience)
        found.sort(key=_changed_at)
        return [last_state(key, state, result=result) for key, state, result in found]

    def _result(self, connection: Connection, key: bytes, state: TaskState) -> Any:
        """What the event that completed a task brought."""
        if state.state != "completed":
            return None
        events = self._tables.events
        statement = select(events.c.body).where(
            events.c.task_key == key, events.c.sequence.is_not(None), events.c.name == state.name
        )
        body = connection.execute(statement.order_by(events.c.sequence.desc()).limit(1)).scalar()
        return None if body is None else result_in(body)


def result_in(body: bytes) -> Any:
    """The result that a body tells of; None where there is none."""
    try:
        payload = decode_object(body)
        reading = read_answered(payload) if MADE in payload else read_payload(payload)
        return reading.fields.get("result")
    except DeliveryRejected:
        return None


def _changed_at(found: tuple[bytes, TaskState, Any]) -> float:
    moment = found[1].updated_at
    return moment.timestamp() if moment is not None else 0.0
