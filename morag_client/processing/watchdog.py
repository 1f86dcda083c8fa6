"""Naming the handler that blocks the event loop, while it does.

Deliveries are answered in the same loop, so that an `async def` handler that computes or sleeps without awaiting holds
up every answer to MoRAG. Nothing in the loop can notice that in time; a thread can.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import CodeType, FrameType
from typing import Final

_TICK: Final = 0.1
LIMIT: Final = 0.5
"""Seconds without a tick of the event loop after which it is blocked."""

logger = logging.getLogger("morag_client.processing")

NameOf = Callable[[], Mapping[CodeType, str]]


class Watchdog:
    """Watches the event loop it is started in; `handlers()` names the handler that each code object belongs to."""

    def __init__(self, handlers: NameOf) -> None:
        self._handlers = handlers
        self._ticked_at = 0.0
        self._ticking: asyncio.TimerHandle | None = None
        self._loop_thread = 0
        self._is_over = threading.Event()

    def start(self) -> None:
        """Begins to watch the event loop that is running."""
        self._loop_thread = threading.get_ident()
        self._tick(asyncio.get_running_loop())
        threading.Thread(target=self._watch, name="morag-watchdog", daemon=True).start()

    def stop(self) -> None:
        """Watches no more."""
        self._is_over.set()
        if self._ticking is not None:
            self._ticking.cancel()

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._ticked_at = time.monotonic()
        self._ticking = loop.call_later(_TICK, self._tick, loop)

    def _watch(self) -> None:
        reported = 0.0
        while not self._is_over.wait(LIMIT / 2):
            ticked_at = self._ticked_at
            if ticked_at != reported and time.monotonic() - ticked_at > LIMIT + _TICK:
                frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001  # documented, for this purpose
                name = _handler_in(frame, self._handlers())
                if name is not None:
                    reported = ticked_at  # once for each time that it blocks
                    logger.warning(
                        "handler %s blocks the event loop for more than %g s, and every answer to MoRAG with it:"
                        " make it a plain `def`, which runs in a thread, or await what takes its time",
                        name,
                        LIMIT,
                    )


def _handler_in(frame: FrameType | None, names: Mapping[CodeType, str]) -> str | None:
    while frame is not None:
        if (name := names.get(frame.f_code)) is not None:
            return name
        frame = frame.f_back
    return None
