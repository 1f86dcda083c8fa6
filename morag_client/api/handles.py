"""Waiting for a task from the application that submitted it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from datetime import timedelta
from typing import Any, Final, Literal, Protocol

from anyio.from_thread import start_blocking_portal

from morag_client.api.async_driver import AsyncDriver
from morag_client.api.following import Questions, TaskInbox, follow
from morag_client.api.server import Server
from morag_client.errors import ApiError, ConfigurationError, TaskFailedError, TaskTimeout
from morag_client.events.names import is_final
from morag_client.events.payloads import Payload, TaskResult
from morag_client.events.types import Event

Failure = Literal["failed", "cancelled", "lost"]

_LONGEST: Final = 366 * 86400.0
_FAILED: Final[tuple[Failure, str]] = ("failed", "failed")
_OTHER_ENDS: Final[dict[str, tuple[Failure, str]]] = {
    "task.cancelled": ("cancelled", "was cancelled"),
    "task.lost": ("lost", "is lost: MoRAG says nothing of it any more"),
}


class HasTask(Protocol):
    """What MoRAG answered when a document was submitted; without a task where it was done at once."""

    @property
    def task_id(self) -> str | None: ...


class AsyncTaskHandle:
    """A task of MoRAG's: `await` its `result`, or iterate over its events with `async for`.

    Both go by the webhooks that arrive in `inbox`; without one, MoRAG is asked again and again, less often the longer
    nothing changes. Events that are made of answers have `source == "reconcile"`.
    """

    def __init__(self, task_id: str, *, driver: AsyncDriver, inbox: TaskInbox | None = None) -> None:
        self.task_id = task_id
        self._driver = driver
        self._inbox = inbox

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.task_id!r})"

    def __aiter__(self) -> AsyncIterator[Event]:
        """The events of the task from the first on, ending with the one that ended it. Raises ApiError."""
        return follow(self.task_id, asker=self._driver, inbox=self._inbox)

    async def result(self, timeout: float | timedelta | None = None) -> TaskResult:  # noqa: ASYNC109  # the public name
        """What the completed task produced; waits for it, for `timeout` (seconds; None: for as long as it takes).

        Raises TaskFailedError where it failed, was cancelled or is lost, TaskTimeout, NotSupported where this release
        of MoRAG cannot be asked and there is no inbox, ApiError, and InboxUnavailable.
        """
        last: Event | None = None
        questions = Questions(self.task_id, self._driver)
        following = follow(self.task_id, asker=self._driver, inbox=self._inbox, questions=questions)
        try:
            async with asyncio.timeout(_seconds(timeout)), contextlib.aclosing(following) as events:
                async for event in events:
                    last = event
        except TimeoutError:
            trouble = questions.trouble
            raise TaskTimeout(_late(self.task_id, timeout, last, trouble), task_id=self.task_id) from trouble
        return outcome(self.task_id, last)


class TaskHandle:
    """A task of MoRAG's: wait for its `result`, or iterate over its events; what AsyncTaskHandle is, without a loop."""

    def __init__(self, task_id: str, *, server: Server, inbox: TaskInbox | None = None) -> None:
        self.task_id = task_id
        self._server = server
        self._inbox = inbox

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.task_id!r})"

    def __iter__(self) -> Iterator[Event]:
        """The events of the task from the first on, ending with the one that ended it. Raises ApiError."""
        with start_blocking_portal() as portal, portal.wrap_async_context_manager(self._opened()) as handle:
            events = portal.call(aiter, handle)
            try:
                while (event := portal.call(_next, events)) is not None:
                    yield event
            finally:
                portal.call(_close, events)

    def result(self, timeout: float | timedelta | None = None) -> TaskResult:
        """What the completed task produced; waits for it, for `timeout` (seconds; None: for as long as it takes).

        Raises TaskFailedError where it failed, was cancelled or is lost, TaskTimeout, NotSupported where this release
        of MoRAG cannot be asked and there is no inbox, ApiError, and InboxUnavailable.
        """
        with start_blocking_portal() as portal:
            return portal.call(self._result, timeout)

    async def _result(self, timeout: float | timedelta | None) -> TaskResult:  # noqa: ASYNC109  # handed on
        async with self._opened() as handle:
            return await handle.result(timeout)

    @contextlib.asynccontextmanager
    async def _opened(self) -> AsyncIterator[AsyncTaskHandle]:
        # A connection belongs to the event loop that made it, so this loop has its own.
        driver = AsyncDriver(self._server)
        try:
            yield AsyncTaskHandle(self.task_id, driver=driver, inbox=self._inbox)
        finally:
            await driver.close()


def task_id_of(task: Any) -> str:
    """The id of a task, given it or what MoRAG answered when the document was submitted.

    Raises ConfigurationError where there is none.
    """
    task_id = task if isinstance(task, str) else getattr(task, "task_id", None)
    if not isinstance(task_id, str) or not task_id:
        raise ConfigurationError(
            f"{task!r:.100} names no task; give the id, or what MoRAG answered when the document was submitted"
        )
    return task_id


def outcome(task_id: str, last: Event | None) -> TaskResult:
    """What a task produced whose events ended with this one. Raises TaskFailedError."""
    if last is None or not is_final(last.name):
        raise TaskFailedError(f"the events of task {task_id} broke off before its end", task_id=task_id, event=last)
    if last.name.endswith(".completed"):
        if last.result is not None:
            return last.result
        data = last.data.model_dump() if isinstance(last.data, Payload) else {}
        return TaskResult.model_validate(data)  # r3's pipelines and chains tell theirs as data
    state, how = _OTHER_ENDS.get(last.name, _FAILED)
    said = last.error or last.message
    raise TaskFailedError(
        f"task {task_id} {how}" + (f": {said}" if said else ""),
        task_id=task_id,
        state=state,
        error=last.error,
        error_code=last.error_code,
        event=last,
    )


async def _next(events: AsyncIterator[Event]) -> Event | None:
    return await anext(events, None)


async def _close(events: AsyncIterator[Event]) -> None:
    if isinstance(events, AsyncGenerator):
        await events.aclose()


def _seconds(timeout: float | timedelta | None) -> float | None:
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    if seconds is not None and not 0 <= seconds <= _LONGEST:
        raise ConfigurationError(f"timeout= takes seconds or a timedelta, up to a year, not {timeout!r}")
    return seconds


def _late(task_id: str, timeout: object, last: Event | None, trouble: ApiError | None) -> str:
    known = "nothing was heard of it" if last is None else f"the last that was heard of it is {last.name}"
    if trouble is not None:
        known += f", and MoRAG could not be asked ({trouble})"
    end = "If MoRAG has it, it goes on: wait again, or cancel it"
    return f"task {task_id} has not ended within {timeout!s} s; {known}. {end}"
