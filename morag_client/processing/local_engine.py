"""The engine that runs handlers in this process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from morag_client.errors import InboxError
from morag_client.inbox.database import DriverError
from morag_client.inbox.lanes import Grant, Settlement
from morag_client.inbox.ownership import Ownership
from morag_client.inbox.queries import Queries
from morag_client.processing.heart import Heart
from morag_client.processing.intake import Intake
from morag_client.processing.lanes import Lanes
from morag_client.processing.projecting import Projecting
from morag_client.processing.running import Runner
from morag_client.processing.work import Work

_BATCH: Final = 256
_CAPACITY: Final = 1024
_POLL: Final = 1.0
_LONGEST_PAUSE: Final = 2.0
_LAST_WORDS: Final = 5.0

logger = logging.getLogger("morag_client.processing")

OnProjected = Callable[[Sequence[Grant], Mapping[int, Work]], None]
"""Told of events that were numbered, once they and their tasks' states are committed; must not raise."""


class LocalEngine:
    """Claims tasks, runs their events' handlers in order, settles: turn after turn, each in one transaction.

    A turn settles what has finished since the last one and claims what has come; both are batches by themselves where
    there is much to do.
    """

    def __init__(
        self,
        *,
        queries: Queries,
        ownership: Ownership,
        runner: Runner,
        concurrency: int,
        lease: float,
        poll: float = _POLL,
        on_projected: OnProjected | None = None,
    ) -> None:
        self._ownership = ownership
        self._lanes = Lanes(runner.run, goes_on=runner.goes_on, concurrency=concurrency, on_finished=self._wake)
        clock = asyncio.get_running_loop().time
        self._intake = Intake(queries, in_hand=self._lanes.record_ids, poll=poll, clock=clock)
        self._heart = Heart(
            ownership,
            lease=lease,
            hostname=socket.gethostname(),
            pid=os.getpid(),
            handlers=lambda: runner.handler_names,
            on_adopted=self.look_again,
        )
        self._projecting = Projecting()
        self._on_projected = on_projected
        self._has_news = asyncio.Event()
        # Lanes that were claimed and turned out to have nothing to do.
        self._unused: set[bytes] = set()
        self._is_at_work = False
        self._takes_more = True
        self._is_stopping = False
        self._working: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begins to work, with what is stored already. Raises InboxUnavailable or the database's error."""
        await self._heart.start()
        self._working = asyncio.create_task(self._work(), name="morag-engine")

    async def stop(self, *, grace: float) -> None:
        """Finishes what is in memory within the grace time (seconds); gives everything back."""
        if self._working is None:
            return
        working, self._working = self._working, None
        until = time.monotonic() + grace
        # What this process stored, it also handles, as far as the time allows; a backlog is left to the next start.
        while self._intake.has_handed and not working.done() and time.monotonic() < until:
            await asyncio.sleep(0.01)
        self._takes_more = False
        while self._is_at_work and not working.done() and time.monotonic() < until:
            await asyncio.sleep(0.005)
        hung = await self._lanes.finish(grace=max(0.0, until - time.monotonic()))
        self._is_stopping = True
        self._wake()
        await asyncio.wait([working], timeout=_LAST_WORDS)
        await end(working)
        await self._heart.stop()
        await self._leave(keep=hung, was_cut_off=working.cancelled())

    def hand_over(self, record_id: int, work: Work) -> None:
        """Takes a record that was just stored."""
        self._intake.hand_over(record_id, work)
        self._wake()

    def look_again(self) -> None:
        """Looks for records that wait again, now instead of at the next poll."""
        self._intake.look_again()
        self._wake()

    async def idle(self) -> None:
        """Waits until no record waits that this worker could handle by now. For tests and orderly ends."""
        while self._lanes.record_ids or self._lanes.finished or self._is_at_work or not self._intake.is_idle:
            await asyncio.sleep(0.01)

    def _wake(self) -> None:
        self._has_news.set()

    @property
    def _can_take(self) -> bool:
        return self._takes_more and len(self._lanes.record_ids) < _CAPACITY

    async def _work(self) -> None:
        pause = 0.0
        while not (self._is_stopping and not self._lanes.finished):
            await self._something()
            self._is_at_work = True
            try:
                await self._turn()
                pause = 0.0
            except Exception as error:  # an engine that ended silently would be worse than any of them
                pause = min(max(2 * pause, 0.1), _LONGEST_PAUSE)
                _log_trouble(error, pause)
                await asyncio.sleep(pause)
            finally:
                self._is_at_work = False

    async def _something(self) -> None:
        """Waits until there is something to do."""
        while not (
            self._lanes.finished or self._unused or self._is_stopping or (self._can_take and self._intake.is_ready)
        ):
            self._has_news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._intake.next_sweep if self._can_take else None):
                    await self._has_news.wait()

    async def _turn(self) -> None:
        works = {work.record_id: work for work in await self._intake.next()} if self._can_take else {}
        finished = self._lanes.finished
        settle = [finished[place] for place in range(min(len(finished), _BATCH))]
        wanted = {work.claimable.lane for work in works.values()}
        release = [*self._lanes.idle_after(settle), *self._unused]
        try:
            lost, grants = await self._ownership.turn(
                settle=settle,
                release=[lane for lane in release if lane not in wanted],
                claim=[work.claimable for work in works.values()],
                project=self._projecting.of(works),
                known=self._projecting.known(wanted),
            )
        except BaseException:
            self._intake.start_over()
            raise
        self._projecting.keep(grants)
        if self._on_projected is not None:
            self._on_projected(grants, works)
        self._unused.clear()
        self._settled(settle, lost)
        for grant in grants:
            self._lanes.put(grant, works)
            if grant.lane not in self._lanes:  # somebody else settled what we wanted it for
                self._unused.add(grant.lane)
        self._intake.refuse(wanted - {grant.lane for grant in grants})

    def _settled(self, settle: Sequence[Settlement], lost: set[tuple[bytes, int]]) -> None:
        for _ in settle:
            self._lanes.finished.popleft()
        self._lanes.settled(settle, lost=lost)
        delays = [run.delay for settlement in settle for run in settlement.runs if run.delay is not None]
        if delays:
            self._intake.expect(seconds=min(delays))

    async def _leave(self, *, keep: Sequence[bytes], was_cut_off: bool) -> None:
        try:
            # An event loop that ends without us has ended the work before.
            while self._lanes.finished and was_cut_off:
                await self._turn()
            await self._ownership.leave(keep=keep)
        except (DriverError, InboxError, OSError) as error:
            logger.error("this worker's tasks could not be given back; others take over when the lease ends: %s", error)
        if self._lanes.finished:
            logger.error("outcomes could not be stored (%d); their handlers run again", len(self._lanes.finished))


async def end(task: asyncio.Task[None]) -> None:
    """Cancels a part of the engine and waits for its end."""
    if not task.cancelling():  # a second time would interrupt its cleaning up after the first
        task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and task.exception() is not None:
        logger.error("a part of the engine had ended", exc_info=task.exception())


def _log_trouble(error: Exception, pause: float) -> None:
    expected = isinstance(error, (DriverError, InboxError, OSError))
    logger.log(
        logging.WARNING if expected else logging.ERROR,
        "outcomes cannot be stored or work cannot be claimed, next try in %g s: %s",
        pause,
        error,
        exc_info=None if expected else error,
    )
