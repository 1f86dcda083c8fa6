"""Finding the records that wait, in the order of their ids, wherever they come from.

New records are handed over in memory right after their commit; everything else (what an earlier process left, what
did not fit, what was replayed or is to be tried again) is found in the database. Both ways meet at one cursor that
walks the ids upwards, so that the events of a task start in the order of their arrival. What becomes visible behind the
cursor, since its commit came after a later one's, is looked for before anything newer is given out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set as AbstractSet
from typing import Final

from morag_client.inbox.queries import Queries
from morag_client.inbox.rows import STORED
from morag_client.processing.gaps import Gaps
from morag_client.processing.work import Work, work_of

BATCH: Final = 128
_HANDED_OVER: Final = 4096
_SLACK: Final = 0.005
"""Seconds: the event loop's clock and the database's are not the same."""
_SWEEP_SHARE: Final = 10
"""A sweep that took long is not made again before so many times that long."""


class Intake:
    """Gives out what waits, `next` after `next`.

    `in_hand` are the records that were given out and are not settled yet; they are given once only. What other
    processes leave behind or let wait again is looked for every `poll` seconds, by `clock` (monotonic seconds).
    """

    def __init__(self, queries: Queries, *, in_hand: AbstractSet[int], poll: float, clock: Callable[[], float]) -> None:
        self._queries = queries
        self._in_hand = in_hand
        self._poll = poll
        self._clock = clock
        self._handed: dict[int, Work] = {}
        self._cursor = 0
        self._gaps = Gaps(clock=clock)
        # Whether records may wait after the cursor that were not handed over.
        self._is_behind = True
        self._refused: set[bytes] = set()
        self._sweep: _Sweep | None = None
        self._must_sweep = False
        self.next_sweep = clock()
        """When to look behind the cursor again, by the clock."""

    def hand_over(self, record_id: int, work: Work) -> None:
        """Takes a record that was just stored. What does not fit is found in the database later."""
        if record_id <= self._cursor and record_id not in self._gaps:
            self._must_sweep = True
        elif len(self._handed) < _HANDED_OVER:
            self._handed[record_id] = work
        else:
            self._is_behind = True

    def look_again(self) -> None:
        """Looks for records that wait again, now instead of at the next poll."""
        self._must_sweep = True

    def expect(self, *, seconds: float) -> None:
        """Looks for records that wait again in so many seconds, if that is before the next poll."""
        self.next_sweep = min(self.next_sweep, self._clock() + seconds + _SLACK)

    def refuse(self, lanes: AbstractSet[bytes]) -> None:
        """Keeps back what further records these lanes have; the next sweep tries them again, oldest first."""
        self._refused |= lanes
        if self._sweep is not None:
            self._sweep.refused |= lanes

    @property
    def has_handed(self) -> bool:
        """Whether records that were handed over have not been given out yet."""
        return bool(self._handed)

    @property
    def is_ready(self) -> bool:
        """Whether there may be something to give out now."""
        return (
            bool(self._handed)
            or self._is_behind
            or self._must_sweep
            or self._sweep is not None
            or self._clock() >= self.next_sweep
        )

    @property
    def is_idle(self) -> bool:
        """Whether all that waits has been given out, as far as is known."""
        return not (self._handed or self._is_behind or self._must_sweep or self._sweep)

    async def next(self) -> list[Work]:
        """The next records to be handled, in the order of their ids; none where none wait.

        Raises InboxUnavailable; nothing is forgotten then.
        """
        if self._sweep is None and (self._must_sweep or self._clock() >= self.next_sweep):
            self._must_sweep = False
            self._sweep = _Sweep(began=self._clock())
            # What others stored lies after the cursor too, and nobody tells us of it.
            self._is_behind = True
        # Before anything newer: what lies behind the cursor is older, and must not be overtaken.
        if self._sweep is not None and (works := await self._sweep_on(self._sweep)):
            return works
        return await self._advance()

    def start_over(self) -> None:
        """What was given out last could not be taken: it is found in the database again."""
        self._sweep = None
        self._must_sweep = True

    async def _advance(self) -> list[Work]:
        """What comes after the cursor."""
        works: list[Work] = []
        if not self._gaps:
            while len(works) < BATCH and (work := self._handed.pop(self._cursor + 1, None)) is not None:
                self._cursor += 1
                works.append(work)
        if not works and (self._handed or self._is_behind):
            works = await self._read_on()
        # A sweep finds what is due wherever it is, and so has given out some of what lies after the cursor.
        return [
            work for work in works if work.claimable.lane not in self._refused and work.record_id not in self._in_hand
        ]

    async def _read_on(self) -> list[Work]:
        known = set(self._handed)
        # Set before the question: what is told while it is asked is not part of the answer.
        self._is_behind = False
        try:
            ids = await self._queries.waiting_ids(after=self._cursor, limit=BATCH)
            # Asked after that: whatever was answered before one of those was sent is visible by now.
            late = await self._queries.states(self._gaps.ids)
            works = await self._load([*sorted(self._waiting_among(late)), *ids])
        except BaseException:
            self._is_behind = True
            raise
        self._gaps.close(late)
        self._pass(ids, known)
        return works

    def _waiting_among(self, states: Mapping[int, str]) -> list[int]:
        return [record_id for record_id, state in states.items() if state == STORED and record_id not in self._in_hand]

    def _pass(self, ids: Sequence[int], known: set[int]) -> None:
        """Moves the cursor after what was read, and what was handed over before that."""
        before = self._cursor
        is_cut = len(ids) == BATCH
        self._is_behind = self._is_behind or is_cut
        self._cursor = ids[-1] if is_cut else max([before, *known, *ids])
        if not self._queries.commits_in_order:
            self._gaps.note(after=before, up_to=self._cursor, seen=known.union(ids))
        # What was handed over and does not wait has been handled by somebody else.
        for record_id in known:
            if record_id <= self._cursor:
                self._handed.pop(record_id, None)

    async def _load(self, ids: list[int]) -> list[Work]:
        """The work of each of these records, from memory where it was handed over."""
        found = {
            record.id: work_of(record)
            for record in await self._queries.load([record_id for record_id in ids if record_id not in self._handed])
        }
        works = (self._handed.pop(record_id, None) or found.get(record_id) for record_id in ids)
        return [work for work in works if work is not None]

    async def _sweep_on(self, sweep: _Sweep) -> list[Work]:
        """What lies behind the cursor: lanes that were others', records that wait again, handlers to be tried again.

        Once a lane was refused, its later records are not tried on their own, or they would overtake the earlier ones.
        """
        while True:
            if not sweep.is_at_retries:
                ids = await self._queries.waiting_ids(after=sweep.after, up_to=self._cursor, limit=BATCH)
            else:
                ids = await self._queries.due_ids(after=sweep.after, limit=BATCH)
            fresh = [record_id for record_id in ids if record_id not in self._in_hand]
            works = [work for work in await self._load(fresh) if work.claimable.lane not in sweep.refused]
            is_last = len(ids) < BATCH
            if not is_last:
                sweep.after = ids[-1]
            elif not sweep.is_at_retries:
                sweep.is_at_retries, sweep.after = True, 0
                # From now on the lanes that were not refused again are open.
                self._refused = set(sweep.refused)
            else:
                self._sweep_is_over(sweep)
            if works or self._sweep is None:
                return works

    def _sweep_is_over(self, sweep: _Sweep) -> None:
        self._sweep = None
        now = self._clock()
        self.next_sweep = now + max(self._poll, _SWEEP_SHARE * (now - sweep.began))


class _Sweep:
    """How far a sweep has come, and the lanes that were refused on the way."""

    def __init__(self, *, began: float) -> None:
        self.began = began
        self.after = 0
        self.is_at_retries = False
        self.refused: set[bytes] = set()
