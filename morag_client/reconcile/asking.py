"""Asking MoRAG: what is wanted of a client, each wait bounded, and which errors end a round."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Protocol, TypeVar

from morag_client.api.models import TaskHistory, TaskStatus
from morag_client.api.standing import Said, of_history, of_status
from morag_client.errors import (
    ApiError,
    ConfigurationError,
    NotFound,
    NotSupported,
    NotUnderstood,
    TimedOut,
    Unreachable,
)

Answer = TypeVar("Answer")

_PATIENCE: Final = 120.0
"""Seconds for a call with all its attempts."""
_OURS: Final = frozenset({401, 403, 429})
"""What would be answered to every other question, too."""


class Listed(Protocol):
    """One thing that happened to a task, by MoRAG's list of what happened lately."""

    @property
    def task_id(self) -> str | None: ...

    @property
    def timestamp(self) -> datetime | None: ...

    @property
    def status(self) -> str | None: ...

    @property
    def metadata(self) -> Mapping[str, Any] | None: ...


class Listing(Protocol):
    @property
    def events(self) -> Sequence[Listed]: ...


class Asked(Protocol):
    """What is wanted of a client of MoRAG; AsyncMoragClient has it. Raises ApiError."""

    async def status(self, task_id: str) -> TaskStatus: ...

    async def history(self, task_id: str) -> TaskHistory: ...

    async def recent_events(self, *, hours: int = 24) -> Listing: ...


async def standing_of_task(client: Asked, task_id: str) -> Said:
    """How a task stands: by its status, and where that says nothing, by its history. Raises ApiError."""
    try:
        status = await answered(client.status(task_id))
    except ConfigurationError:
        # An id such as `.` cannot be asked about, and must not keep others from it.
        return Said("unknown")
    except NotFound:
        said: Said | None = Said("unknown")
    else:
        if status.task_id != task_id:  # what stands in between may read the id as a path
            raise NotUnderstood(f"MoRAG was asked about task {task_id!r} and answered about {status.task_id!r}")
        said = of_status(status)
        if said is None:
            raise NotUnderstood(f"MoRAG says {status.status!r} of task {task_id!r}, a word of no release that is known")
    if said is not None and said.standing != "unknown":
        return said
    # Results are forgotten long before the history is.
    try:
        told = of_history(await answered(client.history(task_id)))
    except NotFound:
        return Said("unknown")
    return told


async def answered(question: Awaitable[Answer]) -> Answer:
    """The answer. Raises ApiError, also where there is none in time."""
    try:
        async with asyncio.timeout(_PATIENCE):
            return await question
    except TimeoutError as error:
        raise TimedOut(f"MoRAG did not answer within {_PATIENCE:g} s") from error


def ends_round(error: ApiError) -> bool:
    """Whether it is no use to ask on, now."""
    return isinstance(error, NotSupported | Unreachable) or error.status_code in _OURS
