"""The engine that runs handlers in this process."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Sequence
from typing import Final

from morag_client.errors import InboxError
from morag_client.inbox.database import DriverError
from morag_client.inbox.ownership import Ownership
from morag_client.inbox.queries import Queries
from morag_client.processing.intake import Intake
from morag_client.processing.lanes import Lanes
from morag_client.processing.running import Runner
from morag_client.processing.work import Work

_BATCH: Final = 128
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
        self._ownership = ownership
        self._lease = lease
        self._lanes = Lanes(
            runner.run, goes_on=runner.goes_on, concurrency=concurrency, on_finished=self._note_finished
        )
        self._intake = Intake(queries, admit=self._admit, in_hand=self._lanes.record_ids, poll=poll)
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

    async def stop(self, *, grace: float) -> None:
        """Finishes what is in memory within the grace time (seconds); gives everything back."""
        if not self._tasks:
            return
        feeding, settling, beating = self._tasks
        self._tasks = []
        until = time.monotonic() + grace
        # What this process stored, it also handles, as far as the time allows; a backlog is left to the next start.
        while self._intake.has_handed and not feeding.done() and time.monotonic() < until:
            await asyncio.sleep(0.01)
        await _end(feeding)
        hung = await self._lanes.finish(grace=max(0.0, until - time.monotonic()))
        self._is_stopping = True
        self._has_finished.set()
        await asyncio.wait([settling], timeout=_LAST_WORDS)
        await _end(settling)
        await _end(beating)
        try:
            # An event loop that ends without us has ended the settling before.
            while self._lanes.finished and settling.cancelled():
                await self._settle_some()
            await self._ownership.leave(keep=hung)
        except (DriverError, InboxError, OSError) as error:
            logger.error("this worker's tasks could not be given back; others take over when the lease ends: %s", error)
        if self._lanes.finished:
            logger.error("%d outcomes could not be stored, their handlers will run again", len(self._lanes.finished))

    def hand_over(self, record_id: int, work: Work) -> None:
        """Takes a record that was just stored."""
        self._intake.hand_over(record_id, work)

    def look_again(self) -> None:
        """Looks for records that wait again, now instead of at the next poll."""
        self._intake.look_again()

    async def idle(self) -> None:
        """Waits until no record waits that this worker could handle. For tests and orderly ends."""
        while self._lanes.record_ids or not self._intake.is_idle:
            await asyncio.sleep(0.01)

    def _note_finished(self) -> None:
        self._has_finished.set()

    async def _feed(self) -> None:
        pause = 0.0
        while True:
            try:
                await self._intake.take_in()
                pause = 0.0
            except Exception as error:  # an engine that ended silently would be worse than any of them
                pause = _longer(pause)
                _log_trouble("work cannot be claimed", error, pause)
                await asyncio.sleep(pause)

    async def _admit(self, works: Sequence[Work], refused: set[bytes]) -> None:
        """Claims the lanes of these records and puts them in; lanes in `refused` are not tried, new ones are added."""
        wanted = {work.record_id: work for work in works if work.claimable.lane not in refused}
        if not wanted:
            return
        async with self._ownership_lock:
            grants = await self._ownership.claim([work.claimable for work in wanted.values()])
            for grant in grants:
                self._lanes.put(grant, [wanted[record_id] for record_id in grant.sequences])
            idle = [grant.lane for grant in grants if grant.lane not in self._lanes]
            if idle:  # somebody else settled what we wanted them for
                await self._ownership.settle([], release=idle)
        refused |= {work.claimable.lane for work in wanted.values()} - {grant.lane for grant in grants}

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
        self._intake.make_use_of_room()

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
    if not task.cancelling():  # a second time would interrupt its cleaning up after the first
        task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and task.exception() is not None:
        logger.error("a part of the engine had ended", exc_info=task.exception())
