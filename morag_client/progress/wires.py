"""A websocket with a queue of its own, which can be measured, and cut where its peer does not read.

It stands between python-engineio and the ASGI server. What the library writes goes into the queue; what many clients
are told can be put there directly, at a fraction of what the library's own queue costs (a task and a timer for each).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

_LAST_WORDS: Final = 1.0
"""Seconds that what waits may take to be written when the connection is closed in order."""
_ROUNDS: Final = 8
"""After so many rounds of the event loop, what python-engineio has taken out of its queue is in ours."""


class Wire:
    """One connection, for the task that serves it and for who sends over it."""

    def __init__(self, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
        self._loop = asyncio.get_running_loop()
        self._receive = receive
        self._send = send
        self._waiting: deque[Any] = deque()
        self._idle: asyncio.Future[None] | None = None
        self._writing: asyncio.Task[None] | None = None
        self._receiving: asyncio.Task[Any] | None = None
        self._is_cut = False
        self.is_known = False
        """Whether it has been said who it is."""

    def __len__(self) -> int:
        """How many messages wait."""
        return len(self._waiting)

    def put(self, *messages: Any) -> None:
        """Sends texts, or any ASGI messages, in their turn."""
        if self._is_cut:
            return
        self._waiting.extend(messages)
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    async def send(self, message: Any) -> None:
        """What the ASGI server is told, as the library says it. Raises OSError once the connection was cut."""
        if self._is_cut:
            raise OSError("the connection was cut")
        if self._writing is not None:
            self.put(message)
            return
        await self._send(message)
        if message["type"] == "websocket.accept":
            self._writing = self._loop.create_task(self._write(), name="morag-wire")

    async def receive(self) -> Any:
        """What the ASGI server says; that the peer is gone, once the connection was cut."""
        gone = {"type": "websocket.disconnect", "code": 1008}
        if self._is_cut:
            return gone
        self._receiving = task = asyncio.current_task()
        try:
            return await self._receive()
        except asyncio.CancelledError:
            if not self._is_cut or task is None:
                raise
            task.uncancel()
            return gone
        finally:
            self._receiving = None

    def cut(self) -> None:
        """Ends it, also in the middle of sending."""
        self._is_cut = True
        self._waiting.clear()
        for task in (self._writing, self._receiving):
            if task is not None:
                task.cancel()

    def cut_if_strange(self) -> None:
        """Ends it if it has not been said who it is."""
        if not self.is_known:
            self.cut()

    async def close(self) -> None:
        """Lets what waits be written, as far as the peer reads it soon."""
        writing, self._writing = self._writing, None
        if writing is None:
            return
        until = self._loop.time() + _LAST_WORDS
        while self._waiting and not writing.done() and self._loop.time() < until:
            await asyncio.sleep(0.005)
        writing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([writing])

    async def _write(self) -> None:
        waiting, send = self._waiting, self._send
        try:
            while True:
                while waiting:
                    message = waiting[0]
                    await send({"type": "websocket.send", "text": message} if isinstance(message, str) else message)
                    waiting.popleft()
                self._idle = self._loop.create_future()
                await self._idle
        except Exception:  # whatever the server raises where the peer is gone
            self._is_cut = True
            waiting.clear()


async def emptied(queue: asyncio.Queue[Any]) -> bool:
    """Whether what the library had queued has gone over its wire, given a moment."""
    for _ in range(_ROUNDS):
        await asyncio.sleep(0)
    was_empty = queue.empty()
    for _ in range(_ROUNDS):
        await asyncio.sleep(0)
    return was_empty
