"""Answers that several may share: the page asks again and again, and there may be many open."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

_MOST: Final = 64


class Snapshots:
    """Keeps what was found for a moment; who asks meanwhile for what is just being looked for waits for that."""

    def __init__(self) -> None:
        self._kept: dict[object, tuple[float, asyncio.Task[Any]]] = {}

    async def get(self, key: object, make: Callable[[], Awaitable[Any]], *, max_age: float) -> Any:
        """What `make` returned for this key, at most `max_age` (seconds) ago. Raises what it raises."""
        now = time.monotonic()
        known = self._kept.get(key)
        if known is None or known[0] < now or _is_foreign(known[1]) or _failed(known[1]):
            if len(self._kept) >= _MOST:
                self._kept.clear()
            known = now + max_age, asyncio.ensure_future(_made(make))
            known[1].add_done_callback(_failed)  # whoever asked may be gone, and nobody left to be told
            self._kept[key] = known
        # Who asked first may hang up; the others still want it.
        return await asyncio.shield(known[1])


async def _made(make: Callable[[], Awaitable[Any]]) -> Any:
    return await make()


def _is_foreign(task: asyncio.Task[Any]) -> bool:
    return task.get_loop() is not asyncio.get_running_loop()


def _failed(task: asyncio.Task[Any]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
