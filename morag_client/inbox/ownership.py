"""Who is at work on which task: owner and epoch, taken in batches and given back when idle.

A lane is what one worker owns at a time: a task, or a single record that belongs to none. A worker is alive while its
heartbeat is younger than the lease, by the database's clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final

from sqlalchemy import ColumnElement, and_, delete, exists, func, or_, select, update
from sqlalchemy.engine import Connection

from morag_client.inbox.claiming import Claiming
from morag_client.inbox.clock import database_clock
from morag_client.inbox.database import Database
from morag_client.inbox.lanes import Claimable, Grant, Project, RunRow, Settlement
from morag_client.inbox.orphans import adopt
from morag_client.inbox.rows import STORED
from morag_client.inbox.schedule import mend_schedule
from morag_client.inbox.settling import RETRYING, Settling
from morag_client.inbox.tables import Tables

_DEAD_LEASES: Final = 10


class Ownership:
    """How one worker takes, keeps and gives back lanes, and writes down what became of their records."""

    def __init__(self, database: Database, *, worker_id: str, lease: float) -> None:
        self._database = database
        self._tables: Tables = database.tables
        self._worker_id = worker_id
        self._lease = lease
        self._settling = Settling(database, worker_id=worker_id)
        self._claiming = Claiming(database, worker_id=worker_id, lives=self._lives)

    @property
    def settling(self) -> Settling:
        return self._settling

    async def beat(self, *, hostname: str, pid: int) -> None:
        """Says that this worker is alive. Raises InboxUnavailable."""
        workers, clock = self._tables.workers, database_clock(self._database)
        row = {"id": self._worker_id, "hostname": hostname[:255], "pid": pid}
        alive = {"heartbeat_at": clock, "lease": self._lease}
        statement = self._database.insert(workers).values(row | alive)
        statement = statement.on_conflict_do_update(index_elements=[workers.c.id], set_=alive)
        await self._database.write(lambda connection: connection.execute(statement), patience=self._lease)

    async def forget_the_dead(self) -> None:
        """Removes the rows of workers that were killed long ago, and gives back what they still hold.

        What waits in their lanes is taken over as soon as the lease ends. But a lane whose last record had its end
        before it was settled, by the commit of a transactional handler, is wanted by nobody any more.
        """
        tasks, workers, events = self._tables.tasks, self._tables.workers, self._tables.events
        long_ago = workers.c.heartbeat_at < database_clock(self._database) - _DEAD_LEASES * self._lease_of_each
        theirs = tasks.c.owner.in_(select(workers.c.id).where(long_ago))
        held = select(tasks.c.key).where(theirs).order_by(tasks.c.key).limit(_AT_ONCE).with_for_update()
        waits = exists().where(
            events.c.id == tasks.c.record_id, or_(events.c.state == STORED, events.c.state == RETRYING)
        )
        over = tasks.c.record_id.is_not(None), ~waits.correlate(tasks)
        given_back = {"owner": None, "deaths": tasks.c.deaths + 1}
        holding = select(tasks.c.owner).where(tasks.c.owner.is_not(None))

        def work(connection: Connection) -> None:
            lanes = connection.execute(held).scalars().all()
            if lanes:
                connection.execute(delete(tasks).where(tasks.c.key.in_(lanes), theirs, *over))
                connection.execute(update(tasks).where(tasks.c.key.in_(lanes), theirs).values(given_back))
            connection.execute(delete(workers).where(long_ago, workers.c.id.not_in(holding)))

        await self._database.write(work)

    async def begin(self, record_id: int, handler: str, *, lane: bytes, epoch: int, attempt: int, at: datetime) -> bool:
        """Writes down that a handler is about to be called; False where the lane is no longer ours."""

        def begin(connection: Connection) -> None:
            self._settling.begin_run(connection, record_id, handler, attempt=attempt, at=at)

        return await self._write_where_mine(begin, lane, epoch)

    async def end(self, record_id: int, run: RunRow, *, lane: bytes, epoch: int) -> bool:
        """Writes a handler's outcome before its record is settled; False where the lane is no longer ours."""
        return await self._write_where_mine(
            lambda connection: self._settling.write_run(connection, record_id, run), lane, epoch
        )

    async def _write_where_mine(self, write: Callable[[Connection], None], lane: bytes, epoch: int) -> bool:
        def work(connection: Connection) -> bool:
            is_mine = self._settling.is_mine(connection, lane, epoch)
            if is_mine:
                write(connection)
            return is_mine

        return await self._database.write(work)

    async def adopt(self, handlers: Sequence[str]) -> int:
        """Lets runs that had lost their handlers be tried again, where it is one of these; how many there were."""
        return await adopt(self._database, handlers)

    async def mend_schedule(self) -> None:
        """Puts right what a clock that was set back has put off."""
        await mend_schedule(self._database)

    async def leave(self, *, keep: Sequence[bytes] = ()) -> None:
        """Gives back every lane but those to keep, and the worker's own row where there are none of these.

        What is still stored is anybody's again; a lane that is kept is taken over when the lease ends.
        """
        tasks, workers = self._tables.tasks, self._tables.workers

        def work(connection: Connection) -> None:
            mine = select(tasks.c.key).where(tasks.c.owner == self._worker_id, tasks.c.key.not_in(keep))
            held = connection.execute(mine.order_by(tasks.c.key).with_for_update()).scalars().all()
            for start in range(0, len(held), _AT_ONCE):
                self._settling.release(connection, held[start : start + _AT_ONCE])
            if not keep:
                connection.execute(delete(workers).where(workers.c.id == self._worker_id))

        await self._database.write(work)

    async def turn(
        self,
        *,
        settle: Sequence[Settlement],
        release: Sequence[bytes],
        claim: Sequence[Claimable],
        project: Project,
        known: Mapping[bytes, int] = MappingProxyType({}),
    ) -> tuple[set[tuple[bytes, int]], list[Grant]]:
        """Writes outcomes, gives back idle lanes, then takes the lanes of further records where they can be had.

        The lanes and epochs that were lost: nothing was written for them, since owner or epoch are no longer ours. And
        what was granted: lanes that a living worker owns are left out, and of the others those records that were
        settled since they were read. Raises InboxUnavailable; all, or on PostgreSQL the claim, may be undone then.

        `known` says of which tasks `project` knows the state, and after how many events: a task's columns change with
        their number and in no other way, so that they are not read where that still is the same.
        """
        if self._database.is_sqlite:
            # One commit for both: they touch the same pages.
            return await self._database.write(
                lambda connection: (
                    self._settling.settle(connection, settle, release),
                    self._claiming.claim(connection, claim, project, known),
                )
            )
        # Not so where rows are locked: two workers that settle and claim each other's lanes would wait for each other.
        lost: set[tuple[bytes, int]] = set()
        if settle or release:
            lost = await self._database.write(lambda connection: self._settling.settle(connection, settle, release))
        if not claim:
            return lost, []
        return lost, await self._database.write(
            lambda connection: self._claiming.claim(connection, claim, project, known)
        )

    def _lives(self) -> ColumnElement[bool]:
        """Whether a worker is alive. One that beat in the future did so before the clock was set back."""
        workers, clock, lease = self._tables.workers, database_clock(self._database), self._lease_of_each
        return and_(workers.c.heartbeat_at > clock - lease, workers.c.heartbeat_at < clock + lease)

    @property
    def _lease_of_each(self) -> ColumnElement[float]:
        """The lease that a worker lives by, which need not be ours; those of an earlier release said none."""
        return func.coalesce(self._tables.workers.c.lease, self._lease)


_AT_ONCE: Final = 500
