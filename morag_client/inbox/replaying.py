"""Handling stored events again: how many that are, and letting them wait for their handlers once more."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, Select, and_, delete, func, insert, literal, select, update
from sqlalchemy.engine import Connection

from morag_client.errors import RecordNotFound
from morag_client.inbox import audit
from morag_client.inbox.asking import checked_text
from morag_client.inbox.clock import database_clock
from morag_client.inbox.database import Database
from morag_client.inbox.reopening import (
    BATCH,
    LARGEST_ID,
    LockedRecord,
    among,
    bring_forward,
    let_retry,
    lock,
    name_matches,
    reset_runs,
)
from morag_client.inbox.replay_criteria import Replay, ReplayCriteria
from morag_client.inbox.rows import STORED
from morag_client.inbox.settling import ORPHANED, RETRYING

Kind = Literal["replayed", "brought_forward", "waiting", "pruned"]
OnBatch = Callable[[Replay, Sequence[int]], None]
"""Told of each batch after its commit: what became of it, and the ids of the records that wait again."""

_WINDOW: Final = 20_000
"""Records that one question looks at: there is no index on most of what can be asked for."""


async def count(database: Database, criteria: ReplayCriteria) -> Replay:
    """What a replay would do by now. Raises InboxUnavailable."""
    events = database.tables.events
    is_pruned = events.c.body.is_(None)
    conditions = _conditions(database, criteria)
    total = Replay()
    async for window in _windows(database, criteria):
        statement = (
            select(events.c.state, is_pruned.label("is_pruned"), func.count().label("number"))
            .where(window, *conditions)
            .group_by(events.c.state, is_pruned)
        )
        for state, pruned, number in await database.read(partial(_rows, statement)):
            kind = _kind(state, is_pruned=bool(pruned), handler=criteria.handler)
            total = total.plus(replace(Replay(), **{kind: number}))
    return total


async def missing(database: Database, record_ids: Sequence[int]) -> list[int]:
    """Those of the ids of which there is no record, in the order given. Raises InboxUnavailable."""
    found: set[int] = set()
    async for window in _windows(database, ReplayCriteria(record_ids=record_ids)):
        rows = await database.read(partial(_rows, select(database.tables.events.c.id).where(window)))
        found.update(row.id for row in rows)
    return [record_id for record_id in dict.fromkeys(record_ids) if record_id not in found]


async def has_run(database: Database, handler: str) -> bool:
    """Whether a handler of this name has had any record. Raises InboxUnavailable."""
    runs = database.tables.runs
    some = select(runs.c.id).where(runs.c.handler == checked_text(handler, of="handler")).limit(1)
    return await _id(database, some) is not None


async def replay(
    database: Database,
    criteria: ReplayCriteria,
    *,
    who: str,
    why: str | None = None,
    on_batch: OnBatch = lambda *_: None,
) -> Replay:
    """Lets the records' handlers run again, a batch of records in one transaction each; audited.

    With `handler`, exactly that one runs, whether it ever did before or not; without, those that failed, or all where
    none did. Raises InboxUnavailable; the batches before are committed then, and to call it again does no harm.
    """
    events = database.tables.events
    conditions = _conditions(database, criteria)
    total, handlers = Replay(), list[str]()
    entry = audit.Entry(database.tables, action="replay", who=who, why=why, criteria=criteria.described())
    async for window in _windows(database, criteria):
        # Read before the transaction: a search through many records must not hold up those who want to write.
        statement = select(events.c.id).where(window, *conditions).order_by(events.c.id)
        ids = [row.id for row in await database.read(partial(_rows, statement))]
        for start in range(0, len(ids), BATCH):
            batch = _Batch(database, criteria, conditions, entry=entry)
            done = await database.write(partial(batch.run, ids[start : start + BATCH]))
            entry.committed()
            total = total.plus(done)
            handlers += batch.handlers
            on_batch(done, batch.reopened)
    is_single = criteria.record_ids is not None and len(set(criteria.record_ids)) == 1
    return replace(total, handlers=tuple(handlers)) if is_single else total


async def replay_one(
    database: Database, record_id: int, *, handler: str | None = None, who: str, why: str | None = None
) -> Replay:
    """Replays a single record. Raises RecordNotFound."""
    criteria = ReplayCriteria(record_ids=[record_id], handler=handler)
    done = await replay(database, criteria, who=who, why=why)
    if done == Replay():
        raise RecordNotFound(f"there is no record {record_id}")
    return done


class _Batch:
    """One transaction's worth of records."""

    def __init__(
        self,
        database: Database,
        criteria: ReplayCriteria,
        conditions: Sequence[ColumnElement[bool]],
        *,
        entry: audit.Entry,
    ) -> None:
        self._database = database
        self._criteria = criteria
        self._conditions = conditions
        self._entry = entry
        self._reset: list[int] = []
        self._forward: list[int] = []
        self._retry: list[int] = []
        self._afresh: list[int] = []
        self._inserted: list[int] = []
        self.handlers: list[str] = []
        self.reopened: list[int] = []

    def run(self, record_ids: Sequence[int], connection: Connection) -> Replay:
        """Replays those of the records that still are meant."""
        kinds = Counter[str]()
        for record in lock(connection, self._database, record_ids, *self._conditions):
            kind = _kind(record.state, is_pruned=record.is_pruned, handler=self._criteria.handler)
            kinds[kind] += 1
            if kind in {"replayed", "brought_forward"}:
                self._reopen(record)
        self._write(connection)
        done = Replay(kinds["replayed"], kinds["brought_forward"], kinds["waiting"], kinds["pruned"])
        if affected := done.replayed + done.brought_forward:
            self._entry.note(connection, affected=affected)
        return done

    def _reopen(self, record: LockedRecord) -> None:
        self.reopened.append(record.id)
        if self._criteria.handler is not None:
            again = [run for run in record.runs if run.handler == self._criteria.handler]
            if not again:
                self._inserted.append(record.id)
            self.handlers.append(self._criteria.handler)
        else:
            again = [run for run in record.runs if run.state == "failed"]
            sooner = [run for run in record.runs if run.state in {RETRYING, ORPHANED, "died"}]
            self._forward += [run.id for run in sooner]
            if not again and record.state != RETRYING:
                self._afresh.append(record.id)
                self.handlers += [run.handler for run in record.runs]
                return
            self.handlers += [run.handler for run in record.runs if run in again or run in sooner]
        self._reset += [run.id for run in again]
        self._retry.append(record.id)

    def _write(self, connection: Connection) -> None:
        """In the order in which a worker writes: the runs, then the records."""
        database, (events, runs) = self._database, (self._database.tables.events, self._database.tables.runs)
        reset_runs(connection, database, self._reset)
        bring_forward(connection, database, self._forward)
        self._insert(connection)
        if self._afresh:
            connection.execute(delete(runs).where(among(database, runs.c.record_id, self._afresh)))
        let_retry(connection, database, self._retry)
        if self._afresh:
            connection.execute(update(events).where(among(database, events.c.id, self._afresh)).values(state=STORED))

    def _insert(self, connection: Connection) -> None:
        """The handler's run for records that it never had."""
        if not self._inserted:
            return
        events, runs, clock = self._database.tables.events, self._database.tables.runs, database_clock(self._database)
        values = (literal(self._criteria.handler), literal(RETRYING), literal(0), clock, clock)
        chosen = select(events.c.id, *values).where(among(self._database, events.c.id, self._inserted))
        columns = ["record_id", "handler", "state", "attempts", "next_attempt_at", "scheduled_at"]
        connection.execute(insert(runs).from_select(columns, chosen.order_by(events.c.id)))


def _kind(state: str, *, is_pruned: bool, handler: str | None) -> Kind:
    if is_pruned:
        return "pruned"
    if state == STORED:
        return "waiting"
    return "brought_forward" if state == RETRYING and handler is None else "replayed"


def _conditions(database: Database, criteria: ReplayCriteria) -> list[ColumnElement[bool]]:
    """What has to hold of a record, apart from its id."""
    events = database.tables.events
    conditions: list[ColumnElement[bool]] = []
    if criteria.record_ids is None:
        # What another record tells, too, is replayed with that one; asked for by its id, it is meant.
        conditions.append(events.c.belongs_to.is_(None))
    for column, wanted in ((events.c.task_id, criteria.task_id), (events.c.state, criteria.state)):
        if wanted is not None:
            conditions.append(column == wanted)
    if criteria.name is not None:
        conditions.append(name_matches(database, events.c.name, criteria.name))
    if criteria.since is not None:
        conditions.append(events.c.received_at >= criteria.since)
    if criteria.until is not None:
        conditions.append(events.c.received_at < criteria.until)
    return conditions


async def _windows(database: Database, criteria: ReplayCriteria) -> AsyncIterator[ColumnElement[bool]]:
    """Conditions, each on so many records that one question can look at them; not those that come meanwhile."""
    events = database.tables.events
    if criteria.record_ids is not None:
        ids = sorted(set(_possible(criteria.record_ids)))
        for start in range(0, len(ids), _WINDOW):
            yield among(database, events.c.id, ids[start : start + _WINDOW])
        return
    last = await _id(database, select(func.max(events.c.id)))
    after = 0
    while last is not None and after < last:
        ahead = select(events.c.id).where(events.c.id > after, events.c.id <= last).order_by(events.c.id)
        up_to = await _id(database, ahead.offset(_WINDOW - 1).limit(1)) or last
        yield and_(events.c.id > after, events.c.id <= up_to)
        after = up_to


async def _id(database: Database, statement: Select[Any]) -> int | None:
    return await database.read(lambda connection: connection.execute(statement).scalar())


def _rows(statement: Select[Any], connection: Connection) -> list[Any]:
    return list(connection.execute(statement))


def _possible(record_ids: Iterable[int]) -> list[int]:
    """Those that a record can have; a database takes no others in its questions."""
    return [record_id for record_id in record_ids if 0 < record_id <= LARGEST_ID]
