"""Reading what is stored."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from sqlalchemy import Row, Select, String, bindparam, func, select, update
from sqlalchemy.engine import Connection

from morag_client.errors import RecordNotFound
from morag_client.inbox.asking import checked_limit, checked_state, checked_text
from morag_client.inbox.clock import database_clock
from morag_client.inbox.inbox import Inbox
from morag_client.inbox.reopening import LARGEST_ID, name_matches
from morag_client.inbox.replay_criteria import STATES
from morag_client.inbox.rows import STORED
from morag_client.wire.signed_url import Claims

T = TypeVar("T")

_HIDDEN_AT_ONCE: Final = 5000


@dataclass(frozen=True, slots=True)
class HandlerRun:
    """One handler's outcome for a record.

    `state` is `succeeded`, `retrying` (again at `next_attempt_at`), `failed` (it gave up: a dead letter), `discarded`,
    `stuck` (a plain function that did not end in time and still runs), `orphaned` (it was due in a process that has
    no such handler, and waits for one that has), `running` (where two processes died, each attempt is written down
    before it is made) or `died` (its process did while it ran; again at `next_attempt_at`).
    """

    handler: str
    state: str
    attempts: int
    error: str | None
    started_at: datetime | None
    finished_at: datetime | None
    next_attempt_at: datetime | None
    traceback: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Record:
    """A stored event.

    `state` is `stored` (waits for its handlers), `retrying` (some of them are to be tried again), `handled`, or
    `failed` (one of them gave up). `body` is the delivery's, as it came; None in listings, and once it was pruned.
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
    is_late: bool | None
    received_at: datetime
    path: str
    query: str
    headers: Mapping[str, str]
    correlation: Mapping[str, str]
    task_key: bytes | None = field(repr=False)
    belongs_to: int | None = field(repr=False)
    body: bytes | None = field(repr=False)
    runs: Sequence[HandlerRun] = ()


class Queries:
    """What can be asked of the inbox.

    Everything here raises InboxUnavailable, and ConfigurationError for a limit, state or text that cannot be.
    """

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._database = inbox.database
        self._tables = inbox.database.tables

    async def newest(
        self,
        *,
        limit: int,
        state: str | None = None,
        task_id: str | None = None,
        name: str | None = None,
        correlation: Mapping[str, object] | None = None,
    ) -> list[Record]:
        """The newest records with their runs, newest first, without bodies; `name` is a pattern as `@on` takes it.

        `correlation` names ids that were signed, all of which a record has to have.
        """
        events = self._tables.events
        statement = self._select(body=False).order_by(events.c.id.desc()).limit(checked_limit(limit))
        if state is not None:
            statement = statement.where(events.c.state == checked_state(state, STATES))
        if task_id is not None:
            statement = statement.where(events.c.task_id == checked_text(task_id, of="task_id"))
        if name is not None:
            statement = statement.where(name_matches(self._database, events.c.name, name))
        for key, value in (correlation or {}).items():
            # As it stands in the stored object, with its quotes: no text inside of another id reads like that.
            pair = Claims({key: str(value)}).text[1:-1].replace("\0", "")
            find = func.instr if self._database.is_sqlite else func.strpos
            statement = statement.where(find(events.c.correlation, pair) > 0)
        return await self._read(lambda connection: self._records(connection, statement))

    async def received(self, *, limit: int, most_bytes: int) -> list[Record]:
        """The newest records that are not hidden, with their bodies, oldest first; at least one, whatever its size."""
        events = self._tables.events
        sizes = select(events.c.id, func.length(events.c.body).label("size")).where(events.c.hidden == 0)

        def work(connection: Connection) -> list[Record]:
            ids: list[int] = []
            left = most_bytes
            for row in connection.execute(sizes.order_by(events.c.id.desc()).limit(limit)):
                left -= row.size or 0
                if ids and left < 0:
                    break
                ids.append(row.id)
            return self._records(connection, self._select().where(events.c.id.in_(ids)).order_by(events.c.id))

        return await self._read(work)

    async def get(self, record_id: int) -> Record:
        """The record of an id. Raises RecordNotFound."""
        statement = self._select().where(self._tables.events.c.id == record_id)
        found = (
            await self._read(lambda connection: self._records(connection, statement))
            if record_id <= LARGEST_ID  # beyond it the drivers have an error of their own
            else []
        )
        if not found:
            raise RecordNotFound(f"there is no record {record_id}")
        return found[0]

    async def of_task(self, task_key: bytes, *, limit: int) -> list[Record]:
        """The first records of a task with their runs, by number and then by id; those without a number come last."""
        events = self._tables.events
        checked_limit(limit)
        mine = self._select(body=False).where(events.c.task_key == task_key)
        # Not in one statement: each of these has an index. The word stands in it, since only then the index is known.
        stored = bindparam("stored", STORED, String, literal_execute=True)
        numbered = mine.where(events.c.sequence.is_not(None)).order_by(events.c.sequence, events.c.id)
        unnumbered = mine.where(events.c.state == stored, events.c.sequence.is_(None)).order_by(events.c.id)

        def work(connection: Connection) -> list[Record]:
            found = self._records(connection, numbered.limit(limit))
            left = limit - len(found)
            return found + self._records(connection, unnumbered.limit(left)) if left else found

        return await self._read(work)

    async def task_after(
        self, task_key: bytes, *, sequence: int, unnumbered_before: datetime, limit: int
    ) -> list[tuple[int, int | None]]:
        """The ids and numbers of a task's records after a number, in their order, at most so many.

        Behind them those that have none although they were received before that time, by their ids.
        """
        events = self._tables.events
        mine = select(events.c.id, events.c.sequence).where(events.c.task_key == task_key)
        stored = bindparam("stored", STORED, String, literal_execute=True)  # as in `of_task`
        numbered = mine.where(events.c.sequence > sequence).order_by(events.c.sequence, events.c.id)
        unnumbered = mine.where(
            events.c.state == stored, events.c.sequence.is_(None), events.c.received_at < unnumbered_before
        ).order_by(events.c.id)

        def work(connection: Connection) -> list[tuple[int, int | None]]:
            found = list(connection.execute(numbered.limit(limit)))
            if len(found) < limit:
                found += connection.execute(unnumbered.limit(limit - len(found)))
            return [(row.id, row.sequence) for row in found]

        return await self._read(work)

    async def waiting_ids(self, *, after: int, up_to: int | None = None, limit: int) -> list[int]:
        """The ids of the records that wait for their handlers, after one and up to another, in their order."""
        events = self._tables.events
        statement = select(events.c.id).where(events.c.state == STORED, events.c.id > after).order_by(events.c.id)
        if up_to is not None:
            statement = statement.where(events.c.id <= up_to)
        return await self._read(lambda connection: list(connection.execute(statement.limit(limit)).scalars()))

    @property
    def commits_in_order(self) -> bool:
        """Whether records become visible in the order of their ids."""
        return self._database.is_sqlite  # it has one writer at a time

    async def states(self, record_ids: Sequence[int]) -> dict[int, str]:
        """The states of those of these records that can be seen."""
        if not record_ids:
            return {}
        events = self._tables.events
        statement = select(events.c.id, events.c.state).where(events.c.id.in_(record_ids))
        return await self._read(lambda connection: {row.id: row.state for row in connection.execute(statement)})

    async def due_ids(self, *, after: int, limit: int) -> list[int]:
        """The ids of the records of which a handler is to be tried again by now, after one, in their order."""
        runs = self._tables.runs
        statement = (
            select(runs.c.record_id)
            .where(runs.c.next_attempt_at <= database_clock(self._database), runs.c.record_id > after)
            .distinct()
            .order_by(runs.c.record_id)
        )
        return await self._read(lambda connection: list(connection.execute(statement.limit(limit)).scalars()))

    async def load(self, record_ids: Sequence[int]) -> list[Record]:
        """The records of these ids, with their bodies and without their runs, in the order of the ids."""
        if not record_ids:
            return []
        events = self._tables.events
        statement = self._select().where(events.c.id.in_(record_ids)).order_by(events.c.id)
        return await self._read(lambda connection: [_record(row, ()) for row in connection.execute(statement)])

    async def hide_all(self) -> None:
        """Takes every record out of the list of received webhooks, and deletes none."""
        events = self._tables.events
        some = select(events.c.id).where(events.c.hidden == 0).order_by(events.c.id.desc()).limit(_HIDDEN_AT_ONCE)
        statement = update(events).where(events.c.id.in_(some)).values(hidden=1)
        while True:
            hidden = await self._database.write(
                lambda connection: connection.execute(statement).rowcount, patience=self._inbox.patience
            )
            if hidden < _HIDDEN_AT_ONCE:
                return

    async def _read(self, work: Callable[[Connection], T]) -> T:
        return await self._database.read(work, patience=self._inbox.patience)

    def _select(self, *, body: bool = True) -> Select[Any]:
        """What makes a Record, with or without the body, which can be large."""
        left_out = {"identity", "data", "hidden"} | (set() if body else {"body"})
        return select(*(column for column in self._tables.events.c if column.name not in left_out))

    def _records(self, connection: Connection, statement: Select[Any]) -> list[Record]:
        rows = connection.execute(statement).all()
        runs = self._tables.runs
        found = connection.execute(
            select(runs).where(runs.c.record_id.in_([row.id for row in rows])).order_by(runs.c.id)
        )
        by_record: dict[int, list[HandlerRun]] = {}
        for run in found:
            by_record.setdefault(run.record_id, []).append(_run(run))
        return [_record(row, by_record.get(row.id, ())) for row in rows]


def moment(seconds: float | None) -> datetime | None:
    """The moment that the database's clock shows as so many seconds since 1970."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _run(row: Row[Any]) -> HandlerRun:
    return HandlerRun(
        handler=row.handler,
        state=row.state,
        attempts=row.attempts,
        error=row.error,
        started_at=row.started_at,
        finished_at=row.finished_at,
        next_attempt_at=moment(row.next_attempt_at),
        traceback=row.traceback,
    )


def _record(row: Row[Any], runs: Sequence[HandlerRun]) -> Record:
    values = {"body": None, **row._mapping}  # noqa: SLF001  # SQLAlchemy's public name for it
    values["headers"] = json.loads(values["headers"])
    values["correlation"] = json.loads(values["correlation"] or "{}")
    return Record(**values, runs=runs)
