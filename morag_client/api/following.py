"""A task's events until its end: those that an inbox has, and where there is none, what MoRAG answers to questions."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, Final, Protocol

from morag_client.api.endpoint import Course
from morag_client.api.endpoints import status
from morag_client.api.models import TaskStatus
from morag_client.api.standing import Said, of_status
from morag_client.errors import ApiError, NotSupported, NotUnderstood, RateLimited, ServerFailed, Unreachable
from morag_client.events.names import is_final
from morag_client.events.types import Event
from morag_client.wire.answer import Answered, made_body, read_answered
from morag_client.wire.decoding import decode_object

_FIRST_WAIT: Final = 0.5
_LONGEST_WAIT: Final = 15.0
_GROWTH: Final = 1.5
_SILENCE: Final = 30.0
"""After so many seconds without an event MoRAG is asked, also where there is an inbox: a webhook may be lost."""
_PATIENCE: Final = 300.0
"""For so many seconds without an answer it is assumed that MoRAG comes back."""
_PASSING: Final = (Unreachable, ServerFailed, RateLimited, NotUnderstood)

logger = logging.getLogger("morag_client.api")


class TaskInbox(Protocol):
    """Where a task's webhooks arrive; a Receiver is one."""

    def task_events(self, task_id: str, /) -> AsyncGenerator[Event, None]:
        """Those that are stored, in their order, and then those that come, without an end."""


class Asker(Protocol):
    """What runs calls of the REST API."""

    def run(self, course: Course[TaskStatus], /) -> Coroutine[Any, Any, TaskStatus]: ...


async def follow(
    task_id: str, *, asker: Asker, inbox: TaskInbox | None, questions: Questions | None = None
) -> AsyncGenerator[Event, None]:
    """The task's events up to the first that ends it. Raises ApiError, NotSupported, and what the inbox raises."""
    questions = questions or Questions(task_id, asker)
    if inbox is None:
        while True:
            for event in await questions.ask():
                yield event
                if is_final(event.name):
                    return
            await asyncio.sleep(questions.wait)
    async with (
        contextlib.aclosing(inbox.task_events(task_id)) as arriving,
        contextlib.aclosing(_with_questions(arriving, questions)) as events,
    ):
        async for event in events:
            yield event
            if is_final(event.name):
                return


class Questions:
    """Asks how a task stands and makes events of what is new in the answers; `wait` is until the next, in seconds."""

    def __init__(self, task_id: str, asker: Asker) -> None:
        self._task_id = task_id
        self._asker = asker
        self._wait = _FIRST_WAIT
        self._unanswered = 0.0
        self._progress: float | None = None
        self._has_started = False
        self.trouble: ApiError | None = None
        """Why the last question had no answer; None where it had one."""

    @property
    def wait(self) -> float:
        return self._wait * random.uniform(0.8, 1.2)  # noqa: S311  # so that many who wait do not ask all at once

    async def ask(self) -> list[Event]:
        """What is new. Raises ApiError where that will not pass, or has not for long."""
        try:
            answer = await self._asker.run(status(self._task_id))
        except _PASSING as error:
            self.trouble = error
            self._endure(error)
            return []
        self._unanswered, self.trouble = 0.0, None
        events = self._news(answer)
        self._wait = _FIRST_WAIT if events else min(self._wait * _GROWTH, _LONGEST_WAIT)
        return events

    def _endure(self, error: ApiError) -> None:
        if self._unanswered == 0:
            logger.warning("how task %r stands is not known at the moment: %s", self._task_id, error)
        self._wait = min(max(self._wait * _GROWTH, error.retry_after or 0.0), _PATIENCE)
        self._unanswered += self._wait
        if self._unanswered > _PATIENCE:
            raise error

    def _news(self, answer: TaskStatus) -> list[Event]:
        said = of_status(answer)
        if said is None or said.standing == "unknown":
            return []
        if said.standing != "running":
            return [self._event(f"task.{said.standing}", said)]
        events = [] if self._has_started else [self._event("task.started", said)]
        if said.progress and (self._progress is None or said.progress > self._progress):
            events.append(self._event("task.progress", said))
            self._progress = said.progress
        self._has_started = True
        return events

    def _event(self, name: str, said: Said) -> Event:
        answered = Answered(
            name,
            self._task_id,
            0,
            progress=said.progress,
            occurred_at=said.at,
            message=said.message,
            error=said.error,
            result=said.result,
            answer=said.answer,
        )
        return read_answered(decode_object(made_body(answered))).event


async def _with_questions(arriving: AsyncGenerator[Event, None], questions: Questions) -> AsyncGenerator[Event, None]:
    """What arrives, and where that is nothing for long, how the task ended by MoRAG's own account."""
    can_ask = True
    coming: asyncio.Task[Event] | None = None
    try:
        while True:
            coming = coming or asyncio.ensure_future(anext(arriving))
            await asyncio.wait([coming], timeout=_SILENCE if can_ask else None)
            if coming.done():
                event, coming = coming.result(), None
                yield event
                continue
            try:
                ended = [event for event in await questions.ask() if is_final(event.name)]
            except NotSupported:
                can_ask = False
            except ApiError as error:
                logger.warning("MoRAG cannot be asked about a task that is silent: %s", error)
            else:
                for event in ended:
                    yield event
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.wait([coming])
