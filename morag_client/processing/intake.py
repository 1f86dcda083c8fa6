"""Finding the records that wait, in the order of their ids, wherever they come from.

New records are handed over in memory right after their commit; everything else (what an earlier process left, what
did not fit, what was replayed) is found in the database. Both ways meet at one cursor that walks the ids upwards, so
that the events of a task start in the order of their arrival.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence, Set as AbstractSet
from typing import Final

from morag_client.inbox.queries import Queries
from morag_client.processing.work import Work, work_of

_BATCH: Final = 128
_CAPACITY: Final = 1024
_HANDED_OVER: Final = 4096

Admit = Callable[[Sequence[Work], set[bytes]], Awaitable[None]]


class Intake:
    """What waits is given to `admit(works, refused)`, which adds the lanes that it could not have to `refused`.

    `in_hand` are the records that were admitted and are not settled yet; they are given once only. What other
    processes leave behind or let wait again is looked for every `poll` seconds.
    """

    def __init__(self, queries: Queries, *, admit: Admit, in_hand: AbstractSet[int], poll: float) -> None:
        self._queries = queries
        self._admit = admit
        self._in_hand = in_hand
        self._poll = poll
        self._handed: dict[int, Work] = {}
        self._cursor = 0
        # Whether records may wait after the cursor that were not handed over; whether to look behind it; and when
        # that was done last, by the event loop's clock.
        self._is_behind = True
        self._must_sweep = False
        self._swept_at = float("-inf")
        self._refused: set[bytes] = set()
        self._wake_up = asyncio.Event()
        self._wake_up.set()
        self._is_at_work = False

    def hand_over(self, record_id: int, work: Work) -> None:
        """Takes a record that was just stored. What does not fit is found in the database later."""
        if len(self._handed) < _HANDED_OVER:
            self._handed[record_id] = work
        else:
            self._is_behind = True
        self._wake_up.set()

    def look_again(self) -> None:
        """Looks for records that wait again, now instead of at the next poll."""
        self._must_sweep = True
        self._wake_up.set()

    def make_use_of_room(self) -> None:
        """Something was settled: goes on with what there was no room for."""
        if self._has_more:
            self._wake_up.set()

    @property
    def has_handed(self) -> bool:
        """Whether records that were handed over have not been given away yet."""
        return bool(self._handed) or self._is_at_work

    @property
    def is_idle(self) -> bool:
        """Whether all that waits has been given away."""
        return not (self._is_at_work or self._wake_up.is_set() or self._has_more)

    async def take_in(self) -> None:
        """Waits until there may be something, and gives it away as far as there is room.

        Raises what the database and `admit` raise; the next call begins where this one ended.
        """
        await self._something()
        self._is_at_work = True
        self._wake_up.clear()
        try:
            await self._take_all()
        except BaseException:
            self._is_behind = True
            self._wake_up.set()
            raise
        finally:
            self._is_at_work = False

    @property
    def _has_more(self) -> bool:
        return bool(self._handed) or self._is_behind or self._must_sweep

    @property
    def _has_room(self) -> bool:
        return len(self._in_hand) < _CAPACITY

    async def _something(self) -> None:
        try:
            async with asyncio.timeout_at(self._swept_at + self._poll):
                await self._wake_up.wait()
        except TimeoutError:
            pass

    async def _take_all(self) -> None:
        clock = asyncio.get_running_loop().time
        # Also when new records never cease: waiting for a quiet moment could be for ever.
        if self._must_sweep or clock() >= self._swept_at + self._poll:
            self._must_sweep = False
            self._is_behind = True
            await self._sweep()
            self._swept_at = clock()
        while self._has_room and (works := await self._next()):
            try:
                await self._admit(works, self._refused)
            except BaseException:
                self._cursor = min(self._cursor, works[0].record_id - 1)
                raise

    async def _next(self) -> list[Work]:
        """The next records after the cursor, in the order of their ids."""
        works: list[Work] = []
        while len(works) < _BATCH and (work := self._handed.pop(self._cursor + 1, None)) is not None:
            works.append(work)
            self._cursor += 1
        if works or not (self._handed or self._is_behind):
            return works
        newest_handed = max(self._handed, default=0)
        self._is_behind = False
        records = await self._queries.waiting(after=self._cursor, limit=_BATCH)
        works = [self._handed.pop(record.id) if record.id in self._handed else work_of(record) for record in records]
        if records:
            self._cursor = records[-1].id
        is_cut = len(records) == _BATCH
        self._is_behind = self._is_behind or is_cut
        # What was handed over before and is not among those that wait has been handled by somebody else.
        gone = self._cursor if is_cut else newest_handed
        for record_id in [record_id for record_id in self._handed if record_id <= gone]:
            del self._handed[record_id]
        return works

    async def _sweep(self) -> None:
        """Looks once more at what lies behind the cursor: lanes that were others', and records that wait again.

        Once a lane was refused, its later records are not tried on their own, or they would overtake the earlier ones.
        """
        refused: set[bytes] = set()
        after = 0
        while after < self._cursor and self._has_room:
            records = await self._queries.waiting(after=after, up_to=self._cursor, limit=_BATCH)
            works = [work_of(record) for record in records if record.id not in self._in_hand]
            if works:
                await self._admit(works, refused)
            if len(records) < _BATCH:
                self._refused = refused
                return
            after = records[-1].id
        self._refused |= refused
