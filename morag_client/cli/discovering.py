"""Which tasks there are to be watched: those that have not ended, and those that begin meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from morag_client.cli.following import ByAsking, ByInbox, Ways, has_ended
from morag_client.progress.state import TaskState
from morag_client.wire.signed_url import REF

_PAUSE: Final = 0.5
_PAUSE_OF_MORAG: Final = 2.0
_MOST: Final = 1000


async def discover(ways: Ways) -> AsyncIterator[str]:
    """The ids of tasks, some of them more than once, without an end. Raises ApiError and InboxUnavailable."""
    if isinstance(ways, ByInbox):
        async for task_id in _in_inbox(ways):
            yield task_id
    elif isinstance(ways, ByAsking):
        while True:
            for task in (await ways.active_tasks()).active_tasks:
                if (known := _id_of(task)) is not None:
                    yield known
            await asyncio.sleep(_PAUSE_OF_MORAG)


async def _in_inbox(ways: ByInbox) -> AsyncIterator[str]:
    over: set[str] | None = None
    while True:
        found = await ways.queries.newest(limit=_MOST)
        named = {_named(state): state for state in found}
        if over is None:
            # What had ended before is of no interest, what begins and ends between two looks is.
            over = {name for name, state in named.items() if has_ended(state)}
        for name in named:
            if name and name not in over:
                yield name
        await asyncio.sleep(_PAUSE)


def _named(state: TaskState) -> str:
    return state.task_id or state.correlation.get(REF, "")


def _id_of(task: Any) -> str | None:
    """The id in what a release tells of a task that is under way: an object, or the id alone."""
    known = task.get("task_id") or task.get("id") if isinstance(task, dict) else task
    return known if isinstance(known, str) else None
