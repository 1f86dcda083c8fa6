"""Processes that died while they ran handlers, and what is done so that one handler does not kill them for ever.

A death is nobody's fault at first: processes are killed by deployments, and whatever they had in hand is simply begun
again. A lane whose workers died twice in succession is handled with care: before each attempt it is written down who
is about to be called, and of all that needs care only one handler runs at a time. If the process dies again, the row
that says so is left, and that death counts as a failed attempt of this handler.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final, Protocol

from morag_client.errors import InboxError
from morag_client.handlers.binding import BoundHandler
from morag_client.handlers.context import Context
from morag_client.inbox.database import DriverError
from morag_client.inbox.lanes import EarlierRun, RunRow
from morag_client.inbox.sessions import LaneLost
from morag_client.processing.calling import Caller, is_cancelled
from morag_client.processing.work import Turn

_PATIENCE: Final = 2
"""Deaths in succession after which a lane is handled with care."""
_PAUSE: Final = 1.0

logger = logging.getLogger("morag_client.processing")


class ProcessDied(Exception):
    """What a handler's attempt failed with where its process ended before it did."""

    def __init__(self) -> None:
        super().__init__("the process ended while this handler ran: it was killed, had no memory left, or crashed")


class Attempts(Protocol):
    """Writes down at once that a handler is about to be called, and what came of it.

    Both return False where the lane is no longer ours, and raise InboxUnavailable.
    """

    async def begin(
        self, record_id: int, handler: str, *, lane: bytes, epoch: int, attempt: int, at: datetime
    ) -> bool: ...

    async def end(self, record_id: int, run: RunRow, *, lane: bytes, epoch: int) -> bool: ...


def needs_care(turn: Turn) -> bool:
    """Whether the process may not survive the handlers of this record."""
    runs = turn.granted.runs
    return turn.deaths >= _PATIENCE or (bool(runs) and any(run.state in {"running", "died"} for run in runs))


def has_died(before: EarlierRun | None) -> bool:
    """Whether an attempt was begun whose end nobody lived to tell."""
    return before is not None and before.state == "running"


class Care:
    """Calls handlers that the process may not survive."""

    def __init__(self, caller: Caller, attempts: Attempts, *, clock: Callable[[], datetime]) -> None:
        self._caller = caller
        self._attempts = attempts
        self._clock = clock

    async def call(
        self,
        bound: BoundHandler,
        context: Context,
        turn: Turn,
        *,
        succeeded: Callable[[], RunRow],
        on_stuck: Callable[[float], None],
        on_stopped: Callable[[], None],
    ) -> None:
        """As `Caller.call`, once it is written down who is called. Raises LaneLost, too.

        `on_stopped` is told where it is cancelled: the process has not died then.
        """
        try:
            await self._begin(bound.name, turn, context.attempt)
            await self._caller.call(bound, context, turn, succeeded=succeeded, on_stuck=on_stuck)
        except asyncio.CancelledError as error:
            if is_cancelled(error):
                on_stopped()
            raise

    async def end(self, turn: Turn, run: RunRow) -> None:
        """Writes down what came of an attempt, or the next one's death would be held against it."""
        lane, record_id = turn.work.claimable.lane, turn.work.record_id
        await _surely(lambda: self._attempts.end(record_id, run, lane=lane, epoch=turn.epoch))

    async def _begin(self, handler: str, turn: Turn, attempt: int) -> None:
        lane, record_id, at = turn.work.claimable.lane, turn.work.record_id, self._clock()
        attempts = self._attempts
        if not await _surely(
            lambda: attempts.begin(record_id, handler, lane=lane, epoch=turn.epoch, attempt=attempt, at=at)
        ):
            raise LaneLost("another worker has taken over the task")


async def _surely(write: Callable[[], Awaitable[bool]]) -> bool:
    """What is written once the database can be written to."""
    while True:
        try:
            return await write()
        except (DriverError, InboxError, OSError) as error:
            logger.warning("a handler waits, since it cannot be written down that it is called: %s", error)
            await asyncio.sleep(_PAUSE)
