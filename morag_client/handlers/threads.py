"""Threads for handlers that are plain functions.

The pools of the standard library and of anyio are joined when the interpreter exits, so that one handler that hangs
would keep the process from ever ending. These threads are daemons.
"""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections.abc import Callable
from typing import Any, Final

_MOMENT: Final = 0.5

_Work = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", contextvars.Context, Callable[[], Any]]


class HandlerThreads:
    """A bounded pool; threads start when they are needed and end with `stop`."""

    def __init__(self, *, size: int) -> None:
        self._size = size
        self._work: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._started = 0
        self._busy = 0
        self._lock = threading.Lock()

    async def run(self, function: Callable[[], Any]) -> Any:
        """The function's result, from a thread and in the caller's context; waits while all threads are busy.

        Who is cancelled while the function ends gets its result all the same.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        with self._lock:
            self._busy += 1
            if self._busy > self._started and self._started < self._size:
                self._started += 1
                threading.Thread(target=self._serve, name=f"morag-handler-{self._started}", daemon=True).start()
        self._work.put((loop, future, contextvars.copy_context(), function))
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            # A thread cannot be cancelled; but one that is just about to end has an outcome that is worth a moment.
            await asyncio.wait([future], timeout=_MOMENT)
            if future.cancel():
                raise
        return future.result()

    def stop(self) -> None:
        """Lets every thread end after the work it has."""
        for _ in range(self._started):
            self._work.put(None)
        self._started = 0

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            loop, future, context, function = work
            result, error = (None, None) if future.cancelled() else _outcome(context, function)
            # Free before anybody learns the outcome: who then comes with more must not find all threads busy.
            with self._lock:
                self._busy -= 1
            try:
                loop.call_soon_threadsafe(_settle, future, result, error)
            except RuntimeError:  # the loop closed meanwhile: nobody waits for the outcome any more
                pass
            # Nothing of it is to be kept until there is other work.
            del work, loop, future, context, function, result, error


def _outcome(context: contextvars.Context, function: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    try:
        return context.run(function), None
    except BaseException as raised:  # whatever a handler raises is its run's outcome
        return None, raised


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.cancelled():
        return
    if error is None:
        future.set_result(result)
    elif isinstance(error, (StopIteration, KeyboardInterrupt, GeneratorExit)):
        # A future refuses the first; the others would end the event loop or mean something else to whoever waits.
        told = RuntimeError(f"the handler raised {error!r}")
        told.__cause__ = error
        future.set_exception(told)
    else:
        future.set_exception(error)
