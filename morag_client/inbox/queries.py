"""Reading what is stored."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, delete, func, select, update

from morag_client.errors import RecordNotFound
from morag_client.inbox.inbox import Inbox
from morag_client.inbox.rows import STORED

FAILED: Final = "failed"
_HIDDEN_AT_ONCE: Final = 5000


@dataclass(frozen=True, slots=True)
class HandlerRun:
    """One handler's outcome for a record; `state` is `succeeded` or `failed`."""

    handler: str
    state: str
    attempts: int
    error: str | None
    started_at: datetime | None
    finished_at: datetime | None
    traceback: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Record:
    """A stored event. `state` is `stored` (waits for its handlers), `handled` or `failed` (a run of it failed)."""

    id: int
    name: str
    event_type: str
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
    received_at: datetime
    path: str
    query: str
    headers: Mapping[str, str]
    correlation: Mapping[str, str]
    task_key: bytes | None = field(repr=False)
    body: bytes | None = field(repr=False)
    runs: Sequence[HandlerRun] = ()


class Queries:
    """What can be asked of the inbox, and the few things that can be told to it."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._database = inbox.database
        self._tables = inbox.database.tables

    async def newest(self, *, limit: int, state: str | None = None, hidden: bool = True) -> list[Record]:
        """The newest records with their runs, newest first."""
        events = self._tables.events
        statement = select(events).order_by(events.c.id.desc()).limit(limit)
        if state is not None:
            statement = statement.where(events.c.state == state)
        if not hidden:
            statement = statement.where(events.c.hidden == 0)
        return await self._records(statement)

    async def get(self, record_id: int) -> Record:
        """The record of an id. Raises RecordNotFound."""
        events = self._tables.events
        found = await self._records(select(events).where(events.c.id == record_id))
        if not found:
            raise RecordNotFound(f"there is no record {record_id}")
        return found[0]

    async def waiting(self, *, after: int, up_to: int | None = None, limit: int) -> list[Record]:
        """The records that wait for their handlers, with ids after one and up to another, oldest first."""
        events = self._tables.events
        statement = (
            select(events).where(events.c.state == STORED, events.c.id > after).order_by(events.c.id).limit(limit)
        )
        if up_to is not None:
            statement = statement.where(events.c.id <= up_to)
        return await self._records(statement)

    async def counts(self) -> dict[str, int]:
        """How many records there are in each state."""
        events = self._tables.events
        async with self._inbox.timed(), self._database.reading() as connection:
            rows = await connection.execute(
                select(events.c.state, func.count().label("number")).group_by(events.c.state)
            )
            return {row.state: row.number for row in rows}

    async def reopen(self, record_id: int) -> list[str]:
        """Makes a record wait again for those of its handlers that have not succeeded; their names are returned.

        A record without a failed run waits for all of its handlers again. Raises RecordNotFound.
        """
        events, runs = self._tables.events, self._tables.runs
        record = await self.get(record_id)
        failed = [run.handler for run in record.runs if run.state == FAILED]
        async with self._inbox.timed(), self._database.writing() as connection:
            if not failed:
                await connection.execute(delete(runs).where(runs.c.record_id == record_id))
            await connection.execute(update(events).where(events.c.id == record_id).values(state=STORED))
        return failed or [run.handler for run in record.runs]

    async def hide_all(self) -> None:
        """Takes every record out of the list of received webhooks, and deletes none."""
        events = self._tables.events
        while True:
            some = select(events.c.id).where(events.c.hidden == 0).order_by(events.c.id.desc()).limit(_HIDDEN_AT_ONCE)
            async with self._inbox.timed(), self._database.writing() as connection:
                result = await connection.execute(update(events).where(events.c.id.in_(some)).values(hidden=1))
            if result.rowcount < _HIDDEN_AT_ONCE:
                return

    async def _records(self, statement: Any) -> list[Record]:
        async with self._inbox.timed(), self._database.reading() as connection:
            rows = (await connection.execute(statement)).all()
            runs = self._tables.runs
            ids = [row.id for row in rows]
            found = await connection.execute(select(runs).where(runs.c.record_id.in_(ids)).order_by(runs.c.id))
            by_record: dict[int, list[HandlerRun]] = {}
            for run in found.all():
                by_record.setdefault(run.record_id, []).append(_run(run))
        return [_record(row, by_record.get(row.id, ())) for row in rows]


def _run(row: Row[Any]) -> HandlerRun:
    return HandlerRun(
        handler=row.handler,
        state=row.state,
        attempts=row.attempts,
        error=row.error,
        started_at=row.started_at,
        finished_at=row.finished_at,
        traceback=row.traceback,
    )


def _record(row: Row[Any], runs: Sequence[HandlerRun]) -> Record:
    values = dict(row._mapping)  # noqa: SLF001  # SQLAlchemy's public name for it
    for key in ("identity", "data", "hidden"):
        del values[key]
    values["headers"] = json.loads(values["headers"])
    values["correlation"] = json.loads(values["correlation"] or "{}")
    return Record(**values, runs=runs)
