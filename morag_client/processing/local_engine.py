"""The engine that runs handlers in this process.

New records are handed over in memory right after their commit; everything else (what an earlier process left, what
did not fit, what was replayed) is found in the database. Both ways meet at one cursor that walks the ids upwards, so
that the events of a task start in the order of their arrival.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Sequence
from typing import Final

from morag_client.errors import InboxError
from morag_client.inbox.database import DriverError
from morag_client.inbox.ownership import Ownership
from morag_client.inbox.queries import Queries
from morag_client.processing.lanes import Lanes
from morag_client.processing.running import Runner
from morag_client.processing.work import Work, work_of

_BATCH: Final = 128
_CAPACITY: Final = 1024
_HANDED_OVER: Final = 4096
_POLL: Final = 1.0
_LONGEST_PAUSE: Final = 2.0
_LAST_WORDS: Final = 5.0

logger = logging.getLogger("morag_client.processing")


class LocalEngine:
    """Claims tasks, runs their events' handlers in order, settles in batches."""

    def __init__(
        self,
        *,
        queries: Queries,
        ownership: Ownership,
        runner: Runner,
        concurrency: int,
        lease: float,
        poll: float = _POLL,
    ) -> None:
        self._queries = queries
        self._ownership = ownership
        self._lease = lease
        self._poll = poll
        self._lanes = Lanes(
            lambda work, sequence: runner.run(work, sequence=sequence),
            goes_on=runner.goes_on,
            concurrency=concurrency,
            on_finished=self._note_finished,
        )
        self._handed: dict[int, Work] = {}
        self._cursor = 0
        self._is_behind = True
        self._refused: set[bytes] = set()
        self._has_work = asyncio.Event()
        self._has_finished = asyncio.Event()
        # A lane must not be given back by one coroutine while another puts new records into it.
        self._ownership_lock = asyncio.Lock()
        self._is_stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begins to work, with what is stored already. Raises InboxUnavailable or the database's error."""
        await self._beat()
        for loop in (self._feed(), self._settle_all(), self._keep_beating()):
            self._tasks.append(asyncio.create_task(loop, name="morag-engine"))
        self._has_work.set()

    async def stop(self, *, grace: float) -> None:
        """Finishes what is in memory within the grace time (seconds); gives everything back."""
        if not self._tasks:
            return
        feeding, settling, beating = self._tasks
        self._tasks = []
        await _end(feeding)
        hung = await self._lanes.finish(grace=grace)
        self._is_stopping = True
        self._has_finished.set()
        await asyncio.wait([settling], timeout=_LAST_WORDS)
        await _end(settling)
        await _end(beating)
        try:
            await self._ownership.leave(keep=hung)
        except (DriverError, InboxError, OSError) as error:
            logger.error("this worker's tasks could not be given back; others take over when the lease ends: %s", error)
        if self._lanes.finished:
            logger.error("%d outcomes could not be stored, their handlers will run again", len(self._lanes.finished))

    def hand_over(self, record_id: int, work: Work) -> None:
        """Takes a record that was just stored. What does not fit is found in the database later."""
        if len(self._handed) < _HANDED_OVER:
            self._handed[record_id] = work
        else:
            self._is_behind = True
        self._has_work.set()

    def look_again(self) -> None:
        """Looks for records that wait again, now instead of at the next poll."""
        self._is_behind = True
        self._has_work.set()

    async def idle(self) -> None:
        """Waits until no record waits that this worker could handle. For tests and orderly ends."""
        while True:
            if not self._handed and not self._is_behind and not self._lanes.record_ids and not self._has_work.is_set():
                return
            await asyncio.sleep(0.01)

    def _note_finished(self) -> None:
        self._has_finished.set()

    async def _feed(self) -> None:
        pause = 0.0
        while True:
            try:
                async with asyncio.timeout(self._poll):
                    await self._has_work.wait()
            except TimeoutError:
                self._is_behind = True
            try:
                if self._is_behind:
                    await self._sweep()
                while len(self._lanes.record_ids) < _CAPACITY and (works := await self._next()):
                    await self._admit(works, refused=self._refused)
                self._has_work.clear()
                if self._handed:  # over capacity; the settling of others makes room
                    self._has_work.set()
                    await asyncio.sleep(0.01)
                pause = 0.0
            except Exception as error:  # an engine that ended silently would be worse than any of them
                pause = _longer(pause)
                _log_trouble("work cannot be claimed", error, pause)
                self._is_behind = True
                await asyncio.sleep(pause)

    async def _next(self) -> list[Work]:
        """The next records after the cursor, in the order of their ids."""
        works: list[Work] = []
        while len(works) < _BATCH and (work := self._handed.pop(self._cursor + 1, None)) is not None:
            works.append(work)
            self._cursor += 1
        if works or not (self._handed or self._is_behind):
            return works
        newest_handed = max(self._handed, default=0)
        records = await self._queries.waiting(after=self._cursor, limit=_BATCH)
        works = [self._handed.pop(record.id) if record.id in self._handed else work_of(record) for record in records]
        if records:
            self._cursor = records[-1].id
        self._is_behind = len(records) == _BATCH
        # What was handed over before and is not among those that wait has been handled by somebody else.
        gone = self._cursor if self._is_behind else newest_handed
        for record_id in [record_id for record_id in self._handed if record_id <= gone]:
            del self._handed[record_id]
        return works

    async def _sweep(self) -> None:
        """Looks once more at what lies behind the cursor: lanes that were others', and records that wait again."""
        refused: set[bytes] = set()
        after = 0
        while after < self._cursor and len(self._lanes.record_ids) < _CAPACITY:
            records = await self._queries.waiting(after=after, up_to=self._cursor, limit=_BATCH)
            works = [work_of(record) for record in records if record.id not in self._lanes.record_ids]
            if works:
                await self._admit(works, refused=refused)
            if len(records) < _BATCH:
                self._refused = refused
                return
            after = records[-1].id
        self._refused |= refused

    async def _admit(self, works: Sequence[Work], *, refused: set[bytes]) -> None:
        """Claims the lanes of these records and puts them in.

        Once a lane was refused, its later records are not tried on their own, or they would overtake the earlier ones.
        """
        wanted = {work.record_id: work for work in works if work.claimable.lane not in refused}
        if not wanted:
            return
        async with self._ownership_lock:
            try:
                grants = await self._ownership.claim([work.claimable for work in wanted.values()])
            except BaseException:
                self._cursor = min(self._cursor, works[0].record_id - 1)
                raise
            for grant in grants:
                self._lanes.put(grant, [wanted.pop(record_id) for record_id in grant.sequences])
        refused |= {work.claimable.lane for work in wanted.values()}

    async def _settle_all(self) -> None:
        pause = 0.0
        while True:
            await self._has_finished.wait()
            self._has_finished.clear()
            try:
                while self._lanes.finished:
                    await self._settle_some()
                if self._is_stopping:
                    return
                pause = 0.0
            except Exception as error:  # an engine that ended silently would be worse than any of them
                pause = _longer(pause)
                _log_trouble("outcomes cannot be stored", error, pause)
                self._has_finished.set()
                await asyncio.sleep(pause)

    async def _settle_some(self) -> None:
        finished = self._lanes.finished
        async with self._ownership_lock:
            batch = [finished[place] for place in range(min(len(finished), _BATCH))]
            lost = await self._ownership.settle(batch, release=self._lanes.idle_after(batch))
            for _ in batch:
                finished.popleft()
            self._lanes.settled(batch, lost=lost)

    async def _keep_beating(self) -> None:
        while True:
            await asyncio.sleep(self._lease / 3)
            try:
                await self._beat()
            except (DriverError, InboxError, OSError) as error:
                logger.warning("this worker could not say that it is alive: %s", error)

    async def _beat(self) -> None:
        await self._ownership.beat(hostname=socket.gethostname(), pid=os.getpid())


def _longer(pause: float) -> float:
    return min(max(2 * pause, 0.1), _LONGEST_PAUSE)


def _log_trouble(what: str, error: Exception, pause: float) -> None:
    expected = isinstance(error, (DriverError, InboxError, OSError))
    logger.log(
        logging.WARNING if expected else logging.ERROR,
        "%s, next try in %g s: %s",
        what,
        pause,
        error,
        exc_info=None if expected else error,
    )


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and task.exception() is not None:
        logger.error("a part of the engine had ended", exc_info=task.exception())
