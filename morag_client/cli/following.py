"""Following tasks to their ends: by what the inbox holds of them, or by asking MoRAG again and again."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from morag_client.errors import ApiError, NotFound, RecordNotFound
from morag_client.progress.state import RANK, TaskState, advance, fresh

if TYPE_CHECKING:
    from morag_client.api.async_client import AsyncMoragClient
    from morag_client.api.async_driver import AsyncDriver
    from morag_client.api.endpoint import Course
    from morag_client.api.models import ActiveTasks
    from morag_client.events.types import Event
    from morag_client.inbox.queries import Record
    from morag_client.progress.tasks import TaskQueries

Result = TypeVar("Result")

_AT_ONCE: Final = 8
"""Questions to MoRAG at a time, whatever the number of tasks."""
_PAUSE: Final = 0.25
_PAUSE_PER_TASK: Final = 0.01
SILENCE: Final = 30.0
"""Seconds without an event after which MoRAG is asked: a webhook may be lost."""
_MOST_EVENTS: Final = 1000


def has_ended(state: TaskState) -> bool:
    """Whether it is over; what failed may still be tried again by MoRAG."""
    return RANK[state.state] > 0


class Ways(Protocol):
    """How tasks are followed."""

    def follow(self, task_id: str) -> AsyncGenerator[TaskState, None]:
        """What is known of it, each time that has changed, up to its end. Raises ApiError and InboxUnavailable."""


class ByAsking:
    """Asks MoRAG, less often the longer nothing changes."""

    def __init__(self, driver: AsyncDriver) -> None:
        self._driver = driver
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def run(self, course: Course[Result]) -> Result:
        """One question, when it is its turn."""
        async with self._turns:
            return await self._driver.run(course)

    async def active_tasks(self) -> ActiveTasks:
        """The tasks that workers are at; also shows whether MoRAG can be asked at all. Raises ApiError."""
        from morag_client.api import endpoints  # noqa: PLC0415  # the CLI's help needs none of it

        return await self.run(endpoints.active_tasks())

    async def follow(self, task_id: str) -> AsyncGenerator[TaskState, None]:
        """See Ways."""
        from morag_client.api.following import follow  # noqa: PLC0415  # the CLI's help needs none of it
        from morag_client.inbox.rows import now  # noqa: PLC0415

        state = fresh(task_id, "")
        async with contextlib.aclosing(follow(task_id, asker=self, inbox=None)) as events:
            async for event in events:
                state, _ = advance(state, _fields(event), received_at=now())
                yield state


class ByInbox:
    """Looks into a receiver's inbox; of a task that is silent for long, MoRAG is asked, where it can be."""

    def __init__(self, queries: TaskQueries, client: AsyncMoragClient, *, silence: float = SILENCE) -> None:
        self.queries = queries
        self._client = client
        self._silence = silence
        self._turn = asyncio.Lock()
        self._following = 0

    async def follow(self, task_id: str) -> AsyncGenerator[TaskState, None]:
        """See Ways."""
        known: TaskState | None = None
        heard_at = time.monotonic()
        self._following += 1
        try:
            while known is None or not has_ended(known):
                async with self._turn:
                    found = await self._look(task_id) or known
                if found == known and time.monotonic() - heard_at > self._silence:
                    heard_at = time.monotonic()
                    found = await self._asked(task_id, known) or known
                if found is not None and found != known:
                    known, heard_at = found, time.monotonic()
                    yield found
                else:
                    await asyncio.sleep(max(_PAUSE, self._following * _PAUSE_PER_TASK))
        finally:
            self._following -= 1

    async def _look(self, task_id: str) -> TaskState | None:
        for which in ({"task_id": task_id}, {"ref": task_id}):
            with contextlib.suppress(RecordNotFound):
                return await self.queries.get(**which)
            # Where no handlers are, nobody has worked out a state; the events wait.
            if events := await self.queries.events(**which, limit=_MOST_EVENTS):
                return _told_by(task_id, events)
        return None

    async def _asked(self, task_id: str, known: TaskState | None) -> TaskState | None:
        """How the task ended by MoRAG's account; None where it has not, or that cannot be known."""
        from morag_client.api.standing import of_status  # noqa: PLC0415  # the CLI's help needs none of it

        try:
            stands = of_status(await self._client.status(task_id))
        except ApiError:
            return None
        if stands is None or stands.standing in {"running", "unknown"}:
            return None
        fields = {"name": f"task.{stands.standing}", "status": stands.standing, "error": stands.error}
        return _advanced(known or fresh(task_id, ""), fields | {"message": stands.message, "occurred_at": stands.at})


class Followed:
    """The tasks of a run and how they are; `tell` hears of each change with how it was before."""

    def __init__(self, ways: Ways) -> None:
        self._ways = ways
        self.tell: Tell = lambda *_: None
        self.names: dict[str, str] = {}
        self.states: dict[str, TaskState] = {}
        self.unknown: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def open(self) -> list[str]:
        """The tasks that have not ended, and may."""
        return [task_id for task_id in self.names if self.is_open(task_id)]

    def is_open(self, task_id: str) -> bool:
        state = self.states.get(task_id)
        return task_id not in self.unknown and (state is None or not has_ended(state))

    def add(self, task_id: str, name: str, group: asyncio.TaskGroup) -> None:
        """Follows one more."""
        if task_id not in self.names:
            self.names[task_id] = name
            task = group.create_task(self._follow(task_id))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def ends(self) -> None:
        """Waits until nothing is followed any more."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _follow(self, task_id: str) -> None:
        try:
            async with contextlib.aclosing(self._ways.follow(task_id)) as states:
                async for state in states:
                    before = self.states.get(task_id)
                    self.states[task_id] = state
                    self.tell(task_id, state, before)
        except NotFound as error:
            self.unknown[task_id] = str(error)


class Tell(Protocol):
    """Hears of a task's new state."""

    def __call__(self, task_id: str, state: TaskState, before: TaskState | None, /) -> None: ...


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first thing that went wrong."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def finish(work: Coroutine[Any, Any, None]) -> None:
    """Runs it; of several things that went wrong in it at once, raises the first."""
    try:
        await work
    except BaseExceptionGroup as group:
        raise first_of(group) from None


def _told_by(task_id: str, events: list[Record]) -> TaskState:
    state = fresh(task_id, events[0].tenant)
    for event in events:
        fields = {
            "name": event.name,
            "status": event.status,
            "step": event.step,
            "stage": event.stage,
            "progress": event.progress_percent,
            "occurred_at": event.timestamp,
            "document_id": event.document_id,
            "error": event.error_message,
            "correlation": event.correlation,
            "source": event.source,
        }
        state, _ = advance(state, fields, received_at=event.received_at)
    return state


def _fields(event: Event) -> Mapping[str, Any]:
    told = "name status step stage progress message error error_code occurred_at document_id correlation source"
    return {name: getattr(event, name) for name in told.split()}


def _advanced(state: TaskState, fields: Mapping[str, Any]) -> TaskState:
    from morag_client.inbox.rows import now  # noqa: PLC0415  # the CLI's help needs none of it

    return advance(state, fields, received_at=now())[0]
