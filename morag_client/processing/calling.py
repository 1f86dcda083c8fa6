"""Calling one handler: in the event loop, in a thread, or in a transaction, for as long as it may take."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from morag_client.handlers.binding import BoundHandler
from morag_client.handlers.context import Context
from morag_client.handlers.threads import HandlerThreads
from morag_client.inbox.lanes import RunRow
from morag_client.inbox.sessions import Sessions
from morag_client.processing.deadlines import Deadlines
from morag_client.processing.work import Turn


class Caller:
    """Calls handlers of one worker."""

    def __init__(self, *, threads: HandlerThreads, sessions: Sessions, timeout: float | None) -> None:
        self._threads = threads
        self._sessions = sessions
        self._timeout = timeout
        self._deadlines = Deadlines()
        self._in_threads: set[tuple[bytes, object]] = set()

    def is_in_thread(self, lane: bytes) -> bool:
        """Whether a plain function of this lane is still running in its thread, cancelled or not."""
        return any(busy == lane for busy, _ in list(self._in_threads))

    async def call(
        self,
        bound: BoundHandler,
        context: Context,
        turn: Turn,
        *,
        succeeded: Callable[[], RunRow],
        on_stuck: Callable[[float], None],
    ) -> None:
        """Returns when the handler is through. Raises what it raises, and HandlerTimeout.

        A plain function cannot be stopped: `on_stuck(seconds)` is told when its time is over, and this goes on waiting
        for it. A transaction is committed with the outcome that `succeeded` makes.
        """
        limit = self._timeout if bound.handler.timeout is None else bound.handler.timeout
        if bound.takes_session:
            await self._deadlines.within(limit, self._call_in_transaction(bound, context, turn, succeeded))
        elif bound.is_async:
            await self._deadlines.within(limit, bound.call(context))
        else:
            await self._call_in_thread(bound, context, turn.work.claimable.lane, limit, on_stuck)

    async def _call_in_transaction(
        self, bound: BoundHandler, context: Context, turn: Turn, succeeded: Callable[[], RunRow]
    ) -> None:
        async with self._sessions.transaction() as transaction:
            await bound.call(context, transaction.session)
            await transaction.finish(
                record_id=turn.work.record_id, lane=turn.work.claimable.lane, epoch=turn.epoch, run=succeeded()
            )

    async def call_hook(self, hook: Callable[..., Any], error: BaseException, context: Context) -> None:
        """Tells a hook, for no longer than a handler may take. Raises what it raises, and HandlerTimeout."""

        async def tell() -> None:
            if inspect.iscoroutinefunction(hook):
                await hook(error, context)
            elif inspect.isawaitable(result := await self._threads.run(lambda: hook(error, context))):
                await result

        await self._deadlines.within(self._timeout, tell())

    async def _call_in_thread(
        self, bound: BoundHandler, context: Context, lane: bytes, limit: float | None, on_stuck: Callable[[float], None]
    ) -> None:
        busy = lane, object()

        def call() -> Any:
            self._in_threads.add(busy)
            try:
                return bound.call(context)
            finally:
                self._in_threads.discard(busy)

        watch = None if limit is None else _Watch(limit, on_stuck, has_begun=lambda: busy in self._in_threads)
        try:
            result = await self._threads.run(call)
            if inspect.isawaitable(result):  # a plain function that hands on a coroutine
                await self._deadlines.within(limit, result)
        finally:
            if watch is not None:
                watch.end()


def is_cancelled(error: BaseException) -> bool:
    """Whether an error says that it is us who are cancelled, and not something that the handler waited for."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


class _Watch:
    """Tells once when something that has begun has not ended after so many seconds."""

    def __init__(self, seconds: float, tell: Callable[[float], None], *, has_begun: Callable[[], bool]) -> None:
        self._seconds = seconds
        self._tell = tell
        self._has_begun = has_begun
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def end(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        if self._has_begun():
            self._tell(self._seconds)
        else:  # it waits for a thread
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._look)
