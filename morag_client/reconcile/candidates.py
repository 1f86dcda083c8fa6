"""The tasks that MoRAG is to be asked about."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from pydantic_core import from_json

from morag_client.inbox.inbox import Inbox
from morag_client.inbox.unfinished import Unfinished, Waiting
from morag_client.progress.state import TaskState, fresh, from_values
from morag_client.progress.telling import take
from morag_client.wire.answer import SOURCE
from morag_client.wire.identity import task_key

T = TypeVar("T")

_BATCH: Final = 50
_DOUBT: Final = timedelta(days=1)
"""For so long a task that failed or was cancelled may still turn out well: Celery tries again."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Which tasks are meant: silent since `before`, heard of since `since` (None: whenever)."""

    before: datetime
    since: datetime | None = None

    def means(self, task: TaskState) -> bool:
        heard = task.updated_at
        return heard is None or (heard <= self.before and (self.since is None or heard >= self.since))


@dataclass(slots=True)
class Candidates:
    """The tasks to ask about, by their keys, and how many are silent that MoRAG gave no id."""

    tasks: dict[bytes, TaskState] = field(default_factory=dict)
    without_id: int = 0


async def candidates(inbox: Inbox, silence: Silence, *, now: datetime) -> Candidates:
    """The tasks that went silent without a final event, or ended badly and may still turn out well.

    Raises InboxUnavailable.
    """
    unfinished, found = Unfinished(inbox), Candidates()
    waiting = _by_task(await unfinished.waiting())
    rows: list[Mapping[str, Any]] = []
    for state in ("pending", "running"):
        async for portion in unfinished.in_state(state, silent_since=silence.before):
            rows += portion
    for state in ("failed", "cancelled"):
        rows += [row for row in await unfinished.ended(state) if row["updated_at"] >= now - _DOUBT]
    async for row in _in_turn(rows):
        _consider(found, row["key"], _caught_up(from_values(row), waiting.get(row["key"], ())), silence)
    # A receiver without handlers numbers nothing.
    unseen = set(waiting) - {row["key"] for row in await unfinished.of_keys(list(waiting))}
    async for key in _in_turn(unseen):
        first = waiting[key][0].row
        _consider(found, key, _caught_up(fresh(first["task_id"], first["tenant"]), waiting[key]), silence)
    return found


async def known_of(inbox: Inbox, task_ids: Iterable[str], *, tenant: str = "") -> dict[str, tuple[bytes, TaskState]]:
    """What is known of those of the tasks of which anything is, with their keys. Raises InboxUnavailable."""
    keys = {key: task_id for task_id in task_ids if (key := task_key(tenant=tenant, task_id=task_id)) is not None}
    unfinished = Unfinished(inbox)
    waiting = _by_task(await unfinished.waiting(list(keys)))
    rows = {row["key"]: from_values(row) for row in await unfinished.of_keys(list(keys))}
    return {
        task_id: (key, _caught_up(rows.get(key) or fresh(task_id, tenant), waiting.get(key, ())))
        for key, task_id in keys.items()
        if key in rows or key in waiting
    }


async def _in_turn(items: Iterable[T]) -> AsyncIterator[T]:
    """The items; others have their turn now and then, since the event loop has deliveries to answer."""
    for number, item in enumerate(items):
        if number % _BATCH == 0:
            await asyncio.sleep(0)
        yield item


def _consider(found: Candidates, key: bytes, task: TaskState, silence: Silence) -> None:
    if task.state in {"completed", "lost"} or not silence.means(task):
        return
    if task.task_id is None:
        found.without_id += task.state in {"pending", "running"}
    else:
        found.tasks[key] = task


def _by_task(waiting: Iterable[Waiting]) -> dict[bytes, list[Waiting]]:
    found: dict[bytes, list[Waiting]] = {}
    for one in waiting:
        found.setdefault(one.task_key, []).append(one)
    return found


def _caught_up(task: TaskState, waiting: Sequence[Waiting]) -> TaskState:
    """The state with what came since: as far as columns tell, which is all but messages."""
    for one in waiting:
        row = one.row
        fields = {
            "name": row["name"],
            "step": row["step"],
            "status": row["status"],
            "progress": row["progress_percent"],
            "occurred_at": row["timestamp"],
            "document_id": row["document_id"],
            "error": row["error_message"],
            "correlation": from_json(row["correlation"]) if row["correlation"] else None,
            "source": row["source"],
            "known": task.sequence if row["source"] == SOURCE else None,
        }
        task = take(task, fields, record_id=one.record_id, received_at=row["received_at"]).state
    return task
