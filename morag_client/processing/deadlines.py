"""Time limits for many coroutines at once: one timer looks after them all.

`asyncio.timeout` makes a timer for each, which shows in the profile where a handler takes microseconds and may take
minutes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Final

_COARSE: Final = 5.0
"""Limits of so many seconds or more may be up to `_TICK` late."""
_TICK: Final = 0.5


class HandlerTimeout(Exception):
    """The handler did not end in the time it has."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"it did not end within {seconds:g} s (timeout=)")


class Deadlines:
    """Cancels what does not end in time."""

    def __init__(self) -> None:
        self._running: dict[_Limit, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def within(self, seconds: float | None, awaitable: Awaitable[Any]) -> Any:
        """What the awaitable returns. Raises what it raises, and HandlerTimeout where it does not end in time."""
        if seconds is None:
            return await awaitable
        if seconds < _COARSE:
            return await _precisely(seconds, awaitable)
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        if task is None:
            raise RuntimeError("there is no task that could be cancelled")
        limit = _Limit(task, loop.time() + seconds)
        self._running[limit] = None
        if self._timer is None:
            self._timer = loop.call_later(_TICK, self._look, loop)
        try:
            result = await awaitable
        except asyncio.CancelledError:
            # Not ours where somebody else wants the task to end, too.
            if limit.is_over and task.uncancel() <= limit.cancelling:
                raise HandlerTimeout(seconds) from None
            raise
        finally:
            del self._running[limit]
        if limit.is_over:  # it did not let itself be cancelled, and is through all the same
            task.uncancel()
        return result

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for limit in self._running:
            if now >= limit.ends_at and not limit.is_over:
                limit.is_over = True
                limit.task.cancel()
        self._timer = loop.call_later(_TICK, self._look, loop) if self._running else None


class _Limit:
    __slots__ = ("cancelling", "ends_at", "is_over", "task")

    def __init__(self, task: asyncio.Task[Any], ends_at: float) -> None:
        self.task = task
        self.ends_at = ends_at
        self.is_over = False
        self.cancelling = task.cancelling()


async def _precisely(seconds: float, awaitable: Awaitable[Any]) -> Any:
    try:
        async with asyncio.timeout(seconds) as timer:
            return await awaitable
    except TimeoutError:
        if timer.expired():
            raise HandlerTimeout(seconds) from None
        raise
