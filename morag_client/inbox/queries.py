"""Reading what is stored."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, Select, delete, func, select, update

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
    """A stored event. `state` is `stored` (waits for its handlers), `handled` or `failed` (a run of it failed).

    `body` is the delivery's, as it came; None in listings.
    """

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

    async def newest(self, *, limit: int, state: str | None = None) -> list[Record]:
        """The newest records with their runs, newest first, without their bodies."""
        events = self._tables.events
        statement = self._select(body=False).order_by(events.c.id.desc()).limit(limit)
        if state is not None:
            statement = statement.where(events.c.state == state)
        return await self._records(statement)

    async def received(self, *, limit: int, most_bytes: int) -> list[Record]:
        """The newest records that are not hidden, with their bodies, oldest first; at least one, whatever its size."""
        events = self._tables.events
        sizes = select(events.c.id, func.length(events.c.body).label("size")).where(events.c.hidden == 0)
        async with self._inbox.timed(), self._database.reading() as connection:
            rows = (await connection.execute(sizes.order_by(events.c.id.desc()).limit(limit))).all()
        ids: list[int] = []
        for row in rows:
            most_bytes -= row.size or 0
            if ids and most_bytes < 0:
                break
            ids.append(row.id)
        return await self._records(self._select().where(events.c.id.in_(ids)).order_by(events.c.id))

    async def get(self, record_id: int) -> Record:
        """The record of an id. Raises RecordNotFound."""
        events = self._tables.events
        found = await self._records(self._select().where(events.c.id == record_id))
        if not found:
            raise RecordNotFound(f"there is no record {record_id}")
        return found[0]

    async def waiting(self, *, after: int, up_to: int | None = None, limit: int) -> list[Record]:
        """The records that wait for their handlers, with ids after one and up to another, oldest first."""
        events = self._tables.events
        statement = (
            self._select().where(events.c.state == STORED, events.c.id > after).order_by(events.c.id).limit(limit)
        )
        if up_to is not None:
            statement = statement.where(events.c.id <= up_to)
        return await self._records(statement)

    async def reopen(self, record_id: int) -> list[str]:
        """Makes a record wait again for those of its handlers that have not succeeded; their names are returned.

        A record without a failed run waits for all of its handlers again. Raises RecordNotFound.
        """
        events, runs = self._tables.events, self._tables.runs
        async with self._inbox.timed(), self._database.writing() as connection:
            state = (await connection.execute(select(events.c.state).where(events.c.id == record_id))).scalar()
            if state is None:
                raise RecordNotFound(f"there is no record {record_id}")
            statement = select(runs.c.handler, runs.c.state).where(runs.c.record_id == record_id).order_by(runs.c.id)
            made = (await connection.execute(statement)).all()
            failed = [run.handler for run in made if run.state == FAILED]
            # What still waits is on its way, and those of its handlers that are done stay done.
            if state != STORED:
                if not failed:
                    await connection.execute(delete(runs).where(runs.c.record_id == record_id))
                await connection.execute(update(events).where(events.c.id == record_id).values(state=STORED))
        return failed or [run.handler for run in made if state != STORED]

    async def hide_all(self) -> None:
        """Takes every record out of the list of received webhooks, and deletes none."""
        events = self._tables.events
        while True:
            some = select(events.c.id).where(events.c.hidden == 0).order_by(events.c.id.desc()).limit(_HIDDEN_AT_ONCE)
            async with self._inbox.timed(), self._database.writing() as connection:
                result = await connection.execute(update(events).where(events.c.id.in_(some)).values(hidden=1))
            if result.rowcount < _HIDDEN_AT_ONCE:
                return

    def _select(self, *, body: bool = True) -> Select[Any]:
        """What makes a Record, with or without the body, which can be large."""
        left_out = {"identity", "data", "hidden"} | (set() if body else {"body"})
        return select(*(column for column in self._tables.events.c if column.name not in left_out))

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
    values = {"body": None, **row._mapping}  # noqa: SLF001  # SQLAlchemy's public name for it
    values["headers"] = json.loads(values["headers"])
    values["correlation"] = json.loads(values["correlation"] or "{}")
    return Record(**values, runs=runs)
