"""Who is at work on which task: owner and epoch, taken in batches, given back when idle, and a fence for every settle.

A lane is what one worker owns at a time: a task, or a single record that belongs to none. Events are handed to it in
the order of their ids. A worker is alive while its heartbeat is younger than the lease, by the database's clock.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Float, bindparam, case, delete, func, literal_column, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from morag_client.inbox.database import Database
from morag_client.inbox.rows import STORED
from morag_client.inbox.tables import Tables

_DEAD_LEASES: Final = 10


@dataclass(frozen=True, slots=True)
class Claimable:
    """A stored record that waits to be handled. `lane` is its task's key, or one made of its id."""

    record_id: int
    task_key: bytes | None
    task_id: str | None
    tenant: str

    @property
    def lane(self) -> bytes:
        if self.task_key is not None:
            return self.task_key
        return hashlib.blake2b(b"record:%d" % self.record_id, digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class Grant:
    """A lane that is ours, with the fence's epoch, and the sequence of each of its records (None without a task)."""

    lane: bytes
    epoch: int
    sequences: Mapping[int, int | None]


@dataclass(frozen=True, slots=True)
class RunRow:
    """One handler's outcome for one record."""

    handler: str
    state: str
    attempts: int
    error: str | None
    traceback: str | None
    started_at: datetime
    finished_at: datetime


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of a record, with the lane and epoch under which it was handled."""

    record_id: int
    lane: bytes
    epoch: int
    state: str
    runs: Sequence[RunRow]


class Ownership:
    """The statements by which one worker takes, keeps and gives back lanes."""

    def __init__(self, database: Database, *, worker_id: str, lease: float) -> None:
        self._database = database
        self._tables: Tables = database.tables
        self._worker_id = worker_id
        self._lease = lease
        self._insert = database.insert

    async def beat(self, *, hostname: str, pid: int) -> None:
        """Says that this worker is alive."""
        workers = self._tables.workers
        row = {"id": self._worker_id, "hostname": hostname[:255], "pid": pid, "heartbeat_at": self._clock()}
        statement = self._insert(workers).values(row)
        async with self._database.writing() as connection:
            await connection.execute(
                statement.on_conflict_do_update(index_elements=[workers.c.id], set_={"heartbeat_at": self._clock()})
            )

    async def forget_the_dead(self) -> None:
        """Removes the rows of workers that were killed long ago and hold nothing any more."""
        tasks, workers = self._tables.tasks, self._tables.workers
        holding = select(tasks.c.owner).where(tasks.c.owner.is_not(None))
        long_ago = workers.c.heartbeat_at < self._clock() - _DEAD_LEASES * self._lease
        async with self._database.writing() as connection:
            await connection.execute(delete(workers).where(long_ago, workers.c.id.not_in(holding)))

    async def leave(self, *, keep: Sequence[bytes] = ()) -> None:
        """Gives back every lane but those to keep, and the worker's own row where there are none of these.

        What is still stored is anybody's again; a lane that is kept is taken over when the lease ends.
        """
        tasks, workers = self._tables.tasks, self._tables.workers
        async with self._database.writing() as connection:
            mine = (tasks.c.owner == self._worker_id, tasks.c.key.not_in(keep))
            await connection.execute(delete(tasks).where(*mine, tasks.c.record_id.is_not(None)))
            await connection.execute(update(tasks).where(*mine).values(owner=None))
            if not keep:
                await connection.execute(delete(workers).where(workers.c.id == self._worker_id))

    async def claim(self, records: Sequence[Claimable]) -> list[Grant]:
        """Takes the lanes of these records where they are free, ours, or their owner is dead, and numbers the records.

        The records are in the order of their ids. Lanes that a living worker owns are left out, and of the others
        those records that were settled since they were read; a grant may be of none.
        """
        lanes: dict[bytes, list[Claimable]] = {}
        for record in records:
            lanes.setdefault(record.lane, []).append(record)
        async with self._database.writing() as connection:
            taken = await self._take(connection, lanes)
            waiting = await self._waiting(connection, [record for lane in taken for record in lanes[lane]])
            grants = []
            for lane, (epoch, last) in taken.items():
                still = [record for record in lanes[lane] if record.record_id in waiting]
                grants.append(Grant(lane, epoch, _number(still, waiting, last)))
            await self._write_numbers(connection, grants, waiting)
        return grants

    async def settle(self, settlements: Sequence[Settlement], *, release: Iterable[bytes]) -> set[tuple[bytes, int]]:
        """Writes outcomes and gives back idle lanes, where the fence holds; the lanes and epochs that were lost.

        A lane is lost when its owner or epoch is no longer ours: nothing is written for it.
        """
        handled = {(settlement.lane, settlement.epoch) for settlement in settlements}
        async with self._database.writing() as connection:
            lost = handled - await self._mine(connection, [lane for lane, _ in handled])
            kept = [settlement for settlement in settlements if (settlement.lane, settlement.epoch) not in lost]
            await self._write_runs(connection, kept)
            await self._write_states(connection, kept)
            lost_lanes = {lane for lane, _ in lost} - {settlement.lane for settlement in kept}
            await self._release(connection, [lane for lane in release if lane not in lost_lanes])
        return lost

    async def _take(
        self, connection: AsyncConnection, lanes: Mapping[bytes, Sequence[Claimable]]
    ) -> dict[bytes, tuple[int, int]]:
        tasks, workers = self._tables.tasks, self._tables.workers
        alive = select(workers.c.id).where(workers.c.heartbeat_at > self._clock() - self._lease)
        statement = self._insert(tasks).values(
            [
                {
                    "key": lane,
                    "tenant": records[0].tenant,
                    "task_id": records[0].task_id,
                    "record_id": records[0].record_id if records[0].task_key is None else None,
                    "owner": self._worker_id,
                    "epoch": 1,
                    "sequence": 0,
                }
                # In one order for everybody, or two workers would wait for each other.
                for lane, records in sorted(lanes.items())
            ]
        )
        ours = tasks.c.owner == self._worker_id
        statement = statement.on_conflict_do_update(
            index_elements=[tasks.c.key],
            set_={
                "owner": self._worker_id,
                "epoch": case((ours, tasks.c.epoch), else_=tasks.c.epoch + 1),
            },
            where=or_(tasks.c.owner.is_(None), ours, tasks.c.owner.not_in(alive)),
        ).returning(tasks.c.key, tasks.c.epoch, tasks.c.sequence)
        rows = (await connection.execute(statement)).all()
        return {row.key: (row.epoch, row.sequence) for row in rows}

    async def _waiting(self, connection: AsyncConnection, records: Sequence[Claimable]) -> dict[int, int | None]:
        """Those of the records that wait, with the numbers they have: they were read before their lane was ours."""
        events = self._tables.events
        ids = [record.record_id for record in records]
        statement = select(events.c.id, events.c.sequence).where(events.c.id.in_(ids), events.c.state == STORED)
        return {row.id: row.sequence for row in await connection.execute(statement)}

    async def _write_numbers(
        self, connection: AsyncConnection, grants: Sequence[Grant], had: Mapping[int, int | None]
    ) -> None:
        events, tasks = self._tables.events, self._tables.tasks
        numbered, newest = [], {}
        for grant in grants:
            for record_id, number in grant.sequences.items():
                if number is not None and had[record_id] is None:
                    numbered.append({"record": record_id, "number": number})
                    newest[grant.lane] = number
        if not numbered:
            return
        await connection.execute(
            update(events).where(events.c.id == bindparam("record")).values(sequence=bindparam("number")), numbered
        )
        await connection.execute(
            update(tasks).where(tasks.c.key == bindparam("lane")).values(sequence=bindparam("number")),
            [{"lane": lane, "number": number} for lane, number in newest.items()],
        )

    async def _mine(self, connection: AsyncConnection, lanes: Sequence[bytes]) -> set[tuple[bytes, int]]:
        if not lanes:
            return set()
        tasks = self._tables.tasks
        statement = (
            select(tasks.c.key, tasks.c.epoch)
            .where(tasks.c.owner == self._worker_id, tasks.c.key.in_(lanes))
            .order_by(tasks.c.key)
            .with_for_update()
        )
        return {(row.key, row.epoch) for row in await connection.execute(statement)}

    async def _write_runs(self, connection: AsyncConnection, settlements: Sequence[Settlement]) -> None:
        rows = [
            {
                "record_id": settlement.record_id,
                "handler": run.handler,
                "state": run.state,
                "attempts": run.attempts,
                "error": run.error,
                "traceback": run.traceback,
                "started_at": run.started_at,
                "finished_at": run.finished_at,
            }
            for settlement in settlements
            for run in settlement.runs
        ]
        if not rows:
            return
        runs = self._tables.runs
        statement = self._insert(runs)
        changed = ("state", "attempts", "error", "traceback", "started_at", "finished_at")
        await connection.execute(
            statement.on_conflict_do_update(
                index_elements=[runs.c.record_id, runs.c.handler],
                set_={name: statement.excluded[name] for name in changed},
            ),
            rows,
        )

    async def _write_states(self, connection: AsyncConnection, settlements: Sequence[Settlement]) -> None:
        events = self._tables.events
        for state in Counter(settlement.state for settlement in settlements):
            ids = [settlement.record_id for settlement in settlements if settlement.state == state]
            await connection.execute(
                update(events).where(events.c.id.in_(ids), events.c.state == STORED).values(state=state)
            )

    async def _release(self, connection: AsyncConnection, lanes: Sequence[bytes]) -> None:
        if not lanes:
            return
        tasks = self._tables.tasks
        mine = (tasks.c.key.in_(lanes), tasks.c.owner == self._worker_id)
        await connection.execute(delete(tasks).where(*mine, tasks.c.record_id.is_not(None)))
        await connection.execute(update(tasks).where(*mine).values(owner=None))

    def _clock(self) -> ColumnElement[float]:
        if self._database.is_sqlite:
            return literal_column("(julianday('now') - 2440587.5) * 86400.0", Float)
        return func.extract("epoch", func.clock_timestamp()).cast(Float)


def _number(records: Sequence[Claimable], had: Mapping[int, int | None], last: int) -> dict[int, int | None]:
    """The number of each record of one lane: the one it had, else the next after the lane's last."""
    numbers: dict[int, int | None] = {}
    for record in records:
        number = had[record.record_id]
        if number is None and record.task_key is not None:
            number = last = last + 1
        numbers[record.record_id] = number
    return numbers
