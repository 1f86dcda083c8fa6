"""The lanes that one worker owns: the records of a task one after the other, tasks side by side."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from morag_client.inbox.lanes import Grant, Outcome, RunRow, Settlement
from morag_client.processing.deaths import needs_care
from morag_client.processing.running import OnOutcome
from morag_client.processing.work import Turn, Work

logger = logging.getLogger("morag_client.processing")

Run = Callable[[Turn, OnOutcome], Coroutine[Any, Any, Sequence[str]]]


@dataclass(slots=True)
class Lane:
    """What waits in one lane, and how many of its records are not settled yet."""

    key: bytes
    epoch: int
    queue: deque[Turn] = field(default_factory=deque)
    unsettled: int = 0
    running: asyncio.Task[None] | None = None


class Lanes:
    """Runs what is put into lanes, at most `concurrency` records at once, and collects the outcomes."""

    def __init__(
        self, run: Run, *, goes_on: Callable[[bytes], bool], concurrency: int, on_finished: Callable[[], None]
    ) -> None:
        self._run = run
        self._goes_on = goes_on
        self._slots = asyncio.Semaphore(concurrency)
        # Beside those: who waits here must not keep others from a slot.
        self._alone = asyncio.Semaphore(1)
        self._on_finished = on_finished
        self._lanes: dict[bytes, Lane] = {}
        self.finished: deque[Settlement] = deque()
        self.record_ids: set[int] = set()
        """The records that are in a lane or finished, but not settled."""

    def __contains__(self, lane: bytes) -> bool:
        return lane in self._lanes

    def put(self, grant: Grant, works: Mapping[int, Work]) -> None:
        """Adds the records of a lane that was granted, in their order."""
        if not grant.records:
            return
        lane = self._lanes.get(grant.lane)
        if lane is None or lane.epoch != grant.epoch:
            lane = self._lanes[grant.lane] = Lane(grant.lane, grant.epoch)
        for granted in grant.records:
            lane.queue.append(Turn(works[granted.record_id], granted, grant.epoch, grant.deaths))
            lane.unsettled += 1
            self.record_ids.add(granted.record_id)
        if lane.running is None:
            lane.running = asyncio.create_task(self._drain(lane), name="morag-lane")

    def idle_after(self, settlements: Sequence[Settlement]) -> list[bytes]:
        """The lanes that have nothing left once these are settled."""
        left: dict[bytes, int] = {}
        for settlement in settlements:
            lane = self._lanes.get(settlement.lane)
            if lane is not None and lane.epoch == settlement.epoch and settlement.is_final:
                left[lane.key] = left.get(lane.key, lane.unsettled) - 1
        return [key for key, count in left.items() if count == 0]

    def settled(self, settlements: Sequence[Settlement], *, lost: set[tuple[bytes, int]]) -> None:
        """Forgets settled records, and with a lost lane everything that waits in it."""
        for settlement in settlements:
            lane = self._lanes.get(settlement.lane)
            is_ours = lane is not None and lane.epoch == settlement.epoch
            if settlement.is_final:
                self.record_ids.discard(settlement.record_id)
                if lane is not None and is_ours:
                    lane.unsettled -= 1
            if lane is None or not is_ours:
                continue
            if (lane.key, lane.epoch) in lost:
                self._lose(lane)
            elif lane.unsettled == 0:
                del self._lanes[lane.key]

    async def finish(self, *, grace: float) -> list[bytes]:
        """Waits for everything in the lanes, then cancels what still runs; the lanes that went on all the same."""
        running = {lane.running: lane.key for lane in self._lanes.values() if lane.running is not None}
        if not running:
            return []
        _, late = await asyncio.wait(running, timeout=grace)
        if not late:
            return []
        logger.warning(
            "the handlers of %s did not end within the grace time; what they were called for waits for the next start",
            "a task" if len(late) == 1 else f"{len(late):,} tasks",
        )
        for task in late:
            if not task.cancelling():  # an event loop that ends has cancelled it before us
                task.cancel()
        await asyncio.wait(late, timeout=1.0)
        return [running[task] for task in late if self._goes_on(running[task])]

    def _lose(self, lane: Lane) -> None:
        logger.warning("another worker took over a task, and what waits for it here (%d)", len(lane.queue))
        for turn in lane.queue:
            self.record_ids.discard(turn.work.record_id)
        lane.queue.clear()
        del self._lanes[lane.key]

    async def _drain(self, lane: Lane) -> None:
        task = asyncio.current_task()
        try:
            while lane.queue and not (task is not None and task.cancelling()):
                if needs_care(lane.queue[0]):
                    await self._run_alone(lane)
                    continue
                async with self._slots:
                    if not lane.queue:  # lost while it waited for a slot
                        break
                    await self._run_next(lane)
        finally:
            lane.running = None

    async def _run_alone(self, lane: Lane) -> None:
        """Runs what the process may not survive, one at a time; what is stuck lets the next one in."""
        await self._alone.acquire()
        is_in = True

        def leave() -> None:
            nonlocal is_in
            if is_in:
                is_in = False
                self._alone.release()

        try:
            if lane.queue:
                await self._run_next(lane, on_stuck=leave)
        finally:
            leave()

    async def _run_next(self, lane: Lane, *, on_stuck: Callable[[], None] = lambda: None) -> None:
        turn = lane.queue.popleft()
        record_id, runs = turn.work.record_id, list[RunRow]()
        outcome: Outcome = "unfinished"
        orphaned: Sequence[str] = ()

        def on_outcome(run: RunRow) -> None:
            if run.state == "stuck":  # said at once, since it may never end
                self._finish(Settlement(record_id, lane.key, lane.epoch, "unfinished", [run]))
                on_stuck()
            else:
                runs.append(run)

        try:
            orphaned = await self._run(turn, on_outcome)
            outcome = _outcome(turn, runs)
        except Exception:  # not a handler's, but ours: a record that nobody settles would hold up its task for ever
            logger.exception("record %d could not be handled", record_id)
            outcome = "failed"
        finally:
            # Where a shutdown cuts it off, the record still waits, but not for those handlers that are done.
            if runs or outcome != "unfinished":
                self._finish(Settlement(record_id, lane.key, lane.epoch, outcome, runs, orphaned))

    def _finish(self, settlement: Settlement) -> None:
        self.finished.append(settlement)
        self._on_finished()


def _outcome(turn: Turn, runs: Sequence[RunRow]) -> Outcome:
    if turn.work.problem is not None:
        return "failed"
    if turn.granted.runs or any(run.state != "succeeded" for run in runs):
        return "as_runs"
    return "handled"
