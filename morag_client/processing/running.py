"""Running a record's handlers: all of them, whatever becomes of one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

from morag_client.events.types import Event
from morag_client.handlers.binding import BoundHandler
from morag_client.handlers.context import Context
from morag_client.handlers.dispatch import Dispatcher
from morag_client.handlers.registry import ErrorHook
from morag_client.handlers.retry import Discard, GiveUp, RetryLater, RetryPolicy
from morag_client.inbox.lanes import EarlierRun, RunRow, RunState
from morag_client.inbox.sessions import LaneLost
from morag_client.processing.calling import Caller, is_cancelled
from morag_client.processing.deaths import Attempts, Care, ProcessDied, has_died, needs_care
from morag_client.processing.tracebacks import described, from_the_handler_on
from morag_client.processing.work import Turn

logger = logging.getLogger("morag_client.processing")

OnOutcome = Callable[[RunRow], None]
_STOPPED: Final = "it had not ended when its process was stopped"


class Runner:
    """Calls handlers for records, tells what became of each run, and when it is to be tried again."""

    def __init__(
        self,
        *,
        dispatcher: Dispatcher,
        caller: Caller,
        attempts: Attempts,
        receiver: Any,
        retry: RetryPolicy,
        clock: Callable[[], datetime],
        random: Callable[[], float],
    ) -> None:
        self._dispatcher = dispatcher
        self._caller = caller
        self._call: Callable[..., Awaitable[None]] = caller.call
        self._care = Care(caller, attempts, clock=clock)
        self._receiver = receiver
        self._retry = retry
        self._clock = clock
        self._random = random
        self._missed: set[str] = set()

    @property
    def handler_names(self) -> Sequence[str]:
        """The handlers that exist here."""
        return self._dispatcher.handler_names

    def goes_on(self, lane: bytes) -> bool:
        """Whether a plain function of this lane is still running in its thread, cancelled or not."""
        return self._caller.is_in_thread(lane)

    async def run(self, turn: Turn, on_outcome: OnOutcome) -> Sequence[str]:
        """Runs every handler that the record goes to and whose turn it is; tells each outcome at once.

        Handlers start in the order of their registration and run side by side, or one after the other where the process
        may not survive one of them. Returned are the names of those whose turn it is and that do not exist here.
        """
        event = None if turn.granted.is_told else turn.work.event
        if event is None:
            return ()
        earlier = {run.handler: run for run in turn.granted.runs}
        is_retry = turn.granted.is_retry
        candidates = self._dispatcher.candidates(event)
        bound = [one for one in candidates if _has_turn(earlier.get(one.name), is_retry=is_retry)]
        if needs_care(turn):
            for one in bound:
                await self._run_with_care(one, turn, event, earlier, on_outcome)
        elif len(bound) == 1:
            await self._run_one(bound[0], turn, event, earlier, on_outcome)
        elif bound:
            await asyncio.gather(*(self._run_one(one, turn, event, earlier, on_outcome) for one in bound))
        return self._without_handler(turn, event, candidates, on_outcome) if turn.granted.runs else ()

    async def _run_one(
        self,
        bound: BoundHandler,
        turn: Turn,
        event: Event,
        earlier: dict[str, EarlierRun],
        on_outcome: OnOutcome,
    ) -> None:
        before = earlier.get(bound.name)
        if before is not None and has_died(before):
            context = self._context(turn, event, before.attempts)
            on_outcome(await self._failed(ProcessDied(), bound, context, self._clock()))
        else:
            await self._attempt(bound, turn, event, before, on_outcome)

    async def _run_with_care(
        self,
        bound: BoundHandler,
        turn: Turn,
        event: Event,
        earlier: dict[str, EarlierRun],
        on_outcome: OnOutcome,
    ) -> None:
        told: list[RunRow] = []

        def tell(run: RunRow) -> None:
            told.append(run)
            on_outcome(run)

        await self._run_one(bound, turn, event, earlier, tell)
        if told:
            await self._care.end(turn, told[-1])

    async def _attempt(
        self, bound: BoundHandler, turn: Turn, event: Event, before: EarlierRun | None, on_outcome: OnOutcome
    ) -> None:
        attempt = 1 if before is None else before.attempts + 1
        context = self._context(turn, event, attempt)
        started_at = self._clock()

        def succeeded() -> RunRow:
            return RunRow(bound.name, "succeeded", attempt, None, None, started_at, self._clock())

        def on_stuck(seconds: float) -> None:
            logger.error(
                "handler %s has not ended within %g s for record %d (%s) and cannot be stopped; its task waits for it",
                bound.name,
                seconds,
                turn.work.record_id,
                event.name,
            )
            error = f"it has not ended within {seconds:g} s (timeout=), and still runs"
            on_outcome(RunRow(bound.name, "stuck", attempt, error, None, started_at, self._clock(), delay=0.0))

        try:
            if not bound.wants(event):
                if before is not None:
                    on_outcome(self._unwanted(before, "its condition (where=) does not want this event"))
                return
            call = self._call if not needs_care(turn) else self._careful_call(bound, attempt, on_outcome)
            await call(bound, context, turn, succeeded=succeeded, on_stuck=on_stuck)
        except (KeyboardInterrupt, GeneratorExit):  # the end of the event loop, and not an outcome
            raise
        except LaneLost:
            logger.warning("another worker took over while handler %s ran; what it did is undone", bound.name)
            return
        except BaseException as error:  # test frameworks raise some that are no Exception
            if is_cancelled(error):
                raise
            on_outcome(await self._failed(error, bound, context, started_at))
        else:
            on_outcome(succeeded())

    def _careful_call(self, bound: BoundHandler, attempt: int, on_outcome: OnOutcome) -> Callable[..., Awaitable[None]]:
        at = self._clock()
        stopped = RunRow(bound.name, "retrying", attempt - 1, _STOPPED, None, at, at, delay=0.0)
        return partial(self._care.call, on_stopped=partial(on_outcome, stopped))

    def _context(self, turn: Turn, event: Event, attempt: int) -> Context:
        return Context(
            event=event,
            record_id=turn.work.record_id,
            attempt=attempt,
            received_at=turn.work.received_at,
            sequence=turn.granted.sequence,
            is_late=turn.granted.is_late,
            task=turn.granted.task,
            body=turn.work.body,
            receiver=self._receiver,
        )

    async def _failed(
        self, error: BaseException, bound: BoundHandler, context: Context, started_at: datetime
    ) -> RunRow:
        error.with_traceback(from_the_handler_on(error.__traceback__))
        about = (bound.name, context.record_id, context.event.name)
        if isinstance(error, Discard):
            logger.info("handler %s discards record %d (%s): %s", *about, error.reason)
            said, _ = described(error)
            return RunRow(bound.name, "discarded", context.attempt, said, None, started_at, self._clock())
        delay = self._delay(error, bound, context.attempt)
        again: RunState = "died" if isinstance(error, ProcessDied) else "retrying"
        state: RunState = "failed" if delay is None else again
        if delay is not None and isinstance(error, RetryLater):
            logger.info("handler %s wants record %d (%s) again in %.3g s", *about, delay)
        else:
            goes_on = "gives up" if delay is None else f"tries again in {delay:.3g} s"
            logger.error("handler %s failed for record %d (%s), and %s", *about, goes_on, exc_info=error)
            await self._tell(self._dispatcher.error_hooks, error, context)
        if delay is None:
            await self._tell(self._dispatcher.dead_letter_hooks, error, context)
        said, trace = described(error)
        return RunRow(bound.name, state, context.attempt, said, trace, started_at, self._clock(), delay)

    def _delay(self, error: BaseException, bound: BoundHandler, attempt: int) -> float | None:
        if isinstance(error, GiveUp):
            return None
        policy = bound.handler.retry or self._retry
        delay = policy.delay(attempt, random=self._random)
        if isinstance(error, ProcessDied) and delay is not None:
            # Whoever restarts processes waits already, and a first death may be nobody's fault.
            return policy.delay(attempt - 1, random=self._random) if attempt > 1 else 0.0
        return error.after_seconds if isinstance(error, RetryLater) and delay is not None else delay

    async def _tell(self, hooks: Sequence[ErrorHook], error: BaseException, context: Context) -> None:
        for hook in hooks:
            try:
                await self._caller.call_hook(hook, error, context)
            except (KeyboardInterrupt, GeneratorExit):
                raise
            except BaseException as failure:
                if is_cancelled(failure):
                    raise
                logger.exception("the hook %r failed itself", hook)

    def _without_handler(
        self, turn: Turn, event: Event, candidates: Sequence[BoundHandler], on_outcome: OnOutcome
    ) -> list[str]:
        """Ends the runs that are due and whose handlers do not ask for such events; the names of those that are gone.

        The first can be where a handler was changed, or where a replay named it for events of every kind.
        """
        asked, known = {one.name for one in candidates}, set(self._dispatcher.handler_names)
        due = [run for run in turn.granted.runs if _has_turn(run, is_retry=True) and run.handler not in asked]
        for run in due:
            if run.handler in known:
                on_outcome(self._unwanted(run, f"it does not ask for {event.name}"))
        gone = [run.handler for run in due if run.handler not in known and run.state != "orphaned"]
        for name in gone:
            if name not in self._missed:
                self._missed.add(name)
                logger.warning("there is no handler %s here; its runs wait for a worker that has one, as orphans", name)
        return gone

    def _unwanted(self, run: EarlierRun, why: str) -> RunRow:
        at = self._clock()
        return RunRow(run.handler, "discarded", run.attempts, why, None, at, at)


def _has_turn(before: EarlierRun | None, *, is_retry: bool) -> bool:
    """Whether a handler is to run now, for the first time or again."""
    if before is None:
        return not is_retry
    if before.state in {"orphaned", "running"}:
        return True
    return before.state in {"retrying", "stuck", "died"} and before.is_due
