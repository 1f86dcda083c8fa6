"""Group commit: deliveries that arrive while a commit is under way share the next one. No timer, no added wait."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, NamedTuple, Protocol

from morag_client.errors import InboxUnavailable
from morag_client.inbox.rows import EventRow

_BATCH_ROWS: Final = 256
_BATCH_BYTES: Final = 8 * 1024 * 1024
_WAITING_ROWS: Final = 20_000
_WAITING_BYTES: Final = 256 * 1024 * 1024
_TURNS: Final = 6
_LOOKS: Final = 12
"""How often within the time limit it is looked who is over it."""

logger = logging.getLogger("morag_client.inbox")


class Insertion(Protocol):
    """What stores a batch in one commit, or nothing of it. A contract suite holds every implementation to that."""

    async def insert(self, rows: Sequence[EventRow]) -> list[tuple[int, bool]]: ...

    def is_passing(self, error: Exception) -> bool: ...

    async def close(self) -> None: ...


class RowRefused(Exception):
    """The database takes the others, but not this row."""


class Stored(NamedTuple):
    """A record's id, and whether this delivery made it."""

    record_id: int
    is_new: bool


@dataclass(slots=True)
class _Waiting:
    row: EventRow
    note: Any
    since: float
    futures: list[asyncio.Future[Stored]] = field(default_factory=list)


class GroupCommit:
    """Gathers rows into batches and stores them one batch after the other.

    `on_stored(record_id, note)` is called for each new record that came with a note, after its commit, in the order of
    the ids, also where whoever recorded it has gone away meanwhile.
    """

    def __init__(
        self,
        insertion: Insertion,
        *,
        on_stored: Callable[[int, Any], None],
        timeout: float,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._insertion = insertion
        self._on_stored = on_stored
        self._timeout = timeout
        self._waiting: dict[bytes, _Waiting] = {}
        self._waiting_bytes = 0
        self._under_way: list[_Waiting] = []
        self._work: asyncio.Task[None] | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._is_closed = False
        self.has_failed = False
        """Whether the database did not take the last batch, or has not taken it in time."""

    async def record(self, row: EventRow, note: Any = None) -> Stored:
        """Stores the row, or finds the record of its identity; returns after the commit.

        Raises InboxUnavailable where the database did not take it in time (it may still do so later: whoever sends it
        again gets a duplicate), and RowRefused where it never will.
        """
        if self._is_closed:
            raise InboxUnavailable("the inbox is closed")
        loop = self._loop
        future: asyncio.Future[Stored] = loop.create_future()
        waiting = self._waiting.get(row.identity)
        if waiting is None:
            if len(self._waiting) >= _WAITING_ROWS or self._waiting_bytes > _WAITING_BYTES:
                raise InboxUnavailable("too many deliveries wait for the database")
            waiting = self._waiting[row.identity] = _Waiting(row, note, loop.time())
            self._waiting_bytes += len(row.body)
        waiting.futures.append(future)
        if self._work is None or self._work.done():
            self._work = loop.create_task(self._commit_all(), name="morag-group-commit")
        if self._expiry is None:
            self._expiry = loop.call_later(self._timeout / _LOOKS, self._expire)
        return await future

    async def close(self) -> None:
        """Stores what still waits, as far as its time allows, then lets go of the connection."""
        self._is_closed = True
        if self._expiry is not None:
            self._expiry.cancel()
        if self._work is not None:
            await asyncio.wait([self._work], timeout=self._timeout)
            self._work.cancel()
        _fail([*self._under_way, *self._waiting.values()], InboxUnavailable("the inbox was closed"))
        self._waiting.clear()
        await self._insertion.close()

    async def _commit_all(self) -> None:
        while self._waiting:
            self._under_way = self._take()
            await self._commit(self._under_way)
            self._under_way = []
            # Whoever was just answered may have the next one ready. To let the event loop come round a few times makes
            # batches twice as large under load, and every commit costs as much as four rows.
            for _ in range(_TURNS):
                await asyncio.sleep(0)

    def _expire(self) -> None:
        """Tells those who have waited too long; one timer for all, since one each shows in the profile."""
        oldest = self._loop.time() - self._timeout
        waiting = [*self._under_way, *self._waiting.values()]
        if late := [one for one in waiting if one.since <= oldest]:
            self.has_failed = True
            _fail(late, InboxUnavailable(f"the database did not commit within {self._timeout:g} s"))
        self._expiry = self._loop.call_later(self._timeout / _LOOKS, self._expire) if waiting else None

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = 0
        for identity in list(islice(self._waiting, _BATCH_ROWS)):
            length = len(self._waiting[identity].row.body)
            if batch and size + length > _BATCH_BYTES:
                break
            batch.append(self._waiting.pop(identity))
            size += length
        self._waiting_bytes -= size
        return batch

    async def _commit(self, batch: list[_Waiting]) -> None:
        try:
            stored = await self._insertion.insert([waiting.row for waiting in batch])
        except Exception as error:  # whatever a driver raises; told to everybody who waits
            await self._commit_parts(batch, error)
            return
        self.has_failed = False
        for waiting, (record_id, is_new) in zip(batch, stored, strict=True):
            if is_new and waiting.note is not None:
                self._on_stored(record_id, waiting.note)
            for place, future in enumerate(waiting.futures):
                if not future.done():
                    future.set_result(Stored(record_id, is_new=is_new and place == 0))

    async def _commit_parts(self, batch: list[_Waiting], error: Exception) -> None:
        """One row that is refused must not keep the others of its batch out."""
        if self._insertion.is_passing(error):
            self.has_failed = True
            what = "a delivery" if len(batch) == 1 else f"{len(batch)} deliveries"
            logger.error("the inbox could not commit %s: %s", what, error)
            _fail(batch, InboxUnavailable(f"the database did not commit: {error}"))
        elif len(batch) == 1:
            logger.error("the database refused a row: %s", error)
            _fail(batch, RowRefused(str(error)))
        else:
            middle = len(batch) // 2
            await self._commit(batch[:middle])
            await self._commit(batch[middle:])


def _fail(batch: list[_Waiting], error: Exception) -> None:
    for waiting in batch:
        for future in waiting.futures:
            if not future.done():
                future.set_exception(error)
