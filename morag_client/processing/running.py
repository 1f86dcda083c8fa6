"""Running a record's handlers: all of them, whatever becomes of one."""

from __future__ import annotations

import asyncio
import inspect
import logging
import traceback
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Any, Final

from morag_client.events.types import Event
from morag_client.handlers.binding import BoundHandler
from morag_client.handlers.context import Context
from morag_client.handlers.dispatch import Dispatcher
from morag_client.handlers.threads import HandlerThreads
from morag_client.inbox.ownership import RunRow
from morag_client.processing.work import Work

_ERROR_LENGTH: Final = 1000
_TRACEBACK_LENGTH: Final = 8000

logger = logging.getLogger("morag_client.processing")


class Runner:
    """Calls handlers for records and tells what became of each run."""

    def __init__(
        self, *, dispatcher: Dispatcher, threads: HandlerThreads, receiver: Any, clock: Callable[[], datetime]
    ) -> None:
        self._dispatcher = dispatcher
        self._threads = threads
        self._receiver = receiver
        self._clock = clock
        self._in_threads: set[tuple[bytes, object]] = set()

    def goes_on(self, lane: bytes) -> bool:
        """Whether a plain function of this lane is still running in its thread, cancelled or not."""
        return any(busy == lane for busy, _ in list(self._in_threads))

    async def run(self, work: Work, sequence: int | None, on_outcome: Callable[[RunRow], None]) -> None:
        """Runs every handler that the record goes to and that has not succeeded before; tells each outcome at once.

        Handlers start in the order of their registration and run side by side.
        """
        event = work.event
        if event is None:
            return

        async def run_one(handler: BoundHandler) -> None:
            outcome = await self._run_one(handler, work, event, sequence)
            if outcome is not None:
                on_outcome(outcome)

        bound = [handler for handler in self._dispatcher.candidates(event) if handler.name not in work.done]
        if len(bound) == 1:
            await run_one(bound[0])
        else:
            await asyncio.gather(*(run_one(handler) for handler in bound))

    async def _run_one(self, bound: BoundHandler, work: Work, event: Event, sequence: int | None) -> RunRow | None:
        attempt = work.attempts.get(bound.name, 0) + 1
        context = Context(
            event=event,
            record_id=work.record_id,
            attempt=attempt,
            received_at=work.received_at,
            sequence=sequence,
            body=work.body,
            receiver=self._receiver,
        )
        started_at = self._clock()
        try:
            if not bound.wants(event):
                return None
            await self._call(bound, context, work.claimable.lane)
        except (KeyboardInterrupt, GeneratorExit):  # the end of the event loop, and not an outcome
            raise
        except BaseException as error:  # test frameworks raise some that are no Exception
            if isinstance(error, asyncio.CancelledError) and is_cancelled():
                raise
            error.with_traceback(_from_the_handler_on(error.__traceback__))
            logger.error("handler %s failed for record %d (%s)", bound.name, work.record_id, event.name, exc_info=error)
            await self._tell(error, context)
            return RunRow(
                handler=bound.name,
                state="failed",
                attempts=attempt,
                error=_bounded(_said(error), _ERROR_LENGTH),
                traceback=_bounded("".join(traceback.format_exception(error)), _TRACEBACK_LENGTH),
                started_at=started_at,
                finished_at=self._clock(),
            )
        return RunRow(bound.name, "succeeded", attempt, None, None, started_at, self._clock())

    async def _call(self, bound: BoundHandler, context: Context, lane: bytes) -> None:
        if bound.is_async:
            await bound.call(context)
            return

        def call() -> Any:
            busy = lane, object()
            self._in_threads.add(busy)
            try:
                return bound.call(context)
            finally:
                self._in_threads.discard(busy)

        result = await self._threads.run(call)
        if inspect.isawaitable(result):  # a plain function that hands on a coroutine
            await result

    async def _tell(self, error: BaseException, context: Context) -> None:
        for hook in self._dispatcher.error_hooks:
            try:
                if inspect.iscoroutinefunction(hook):
                    await hook(error, context)
                    continue
                result = await self._threads.run(lambda hook=hook: hook(error, context))  # type: ignore[misc]
                if inspect.isawaitable(result):
                    await result
            except (KeyboardInterrupt, GeneratorExit):
                raise
            except BaseException as failure:
                if isinstance(failure, asyncio.CancelledError) and is_cancelled():
                    raise
                logger.exception("the error hook %r failed itself", hook)


def is_cancelled() -> bool:
    """Whether it is us who are cancelled, and not something that the handler waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _said(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # its __str__ is the user's, too
        return type(error).__name__


def _from_the_handler_on(frames: TracebackType | None) -> TracebackType | None:
    """The frames without those of this package that lead to the user's function."""
    inner = frames
    while inner is not None and inner.tb_frame.f_globals.get("__name__", "").startswith("morag_client."):
        inner = inner.tb_next
    return inner or frames


def _bounded(text: str, length: int) -> str:
    """The text without NUL and surrogates, at most so long; of a long one the end says more than the middle."""
    text = text.replace("\0", "").encode("utf-8", "replace").decode()
    if len(text) <= length:
        return text
    return f"{text[: length // 4]}\n…\n{text[-(length - length // 4) :]}"
