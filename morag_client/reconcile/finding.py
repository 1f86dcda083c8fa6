"""What MoRAG lists as having happened lately: tasks of which not even the first webhook arrived."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from morag_client.api.standing import standing_of
from morag_client.inbox.inbox import Inbox
from morag_client.progress.state import TaskState
from morag_client.reconcile.asking import Asked, Listed, answered
from morag_client.reconcile.candidates import known_of

MOST_LISTED: Final = 100
KEPT: Final = timedelta(days=7)

_ENDED_BADLY: Final = frozenset({"failed", "cancelled", "lost"})

Adopts = Callable[[Mapping[str, Any]], bool]
"""Whether a task is ours, by what MoRAG notes of its events (their `metadata`)."""


@dataclass(slots=True)
class Found:
    """Tasks by what MoRAG lists: ids of those that nothing is known of, and by key those of whose end it says other.

    `limits` says what the list cannot show.
    """

    strangers: list[str] = field(default_factory=list)
    known: dict[bytes, TaskState] = field(default_factory=dict)
    limits: list[str] = field(default_factory=list)


async def find(client: Asked, inbox: Inbox, adopts: Adopts, *, since: datetime, now: datetime) -> Found:
    """What MoRAG lists since then, at most 100 events of seven days. Raises ApiError and InboxUnavailable."""
    hours = max(1, math.ceil(min(now - since, KEPT) / timedelta(hours=1)))
    recent = (await answered(client.recent_events(hours=hours))).events
    found = Found(limits=_limits(recent, since=since, now=now))
    by_task: dict[str, list[Listed]] = {}
    for event in recent:
        if event.task_id:
            by_task.setdefault(event.task_id, []).append(event)
    known = await known_of(inbox, by_task)
    for task_id, events in by_task.items():
        if task_id in known:
            key, task = known[task_id]
            if task.state in _ENDED_BADLY and standing_of(events[0].status) != task.state:
                found.known[key] = task
        elif all(event.timestamp is None or event.timestamp >= since for event in events) and all(
            adopts(event.metadata or {}) for event in events
        ):
            found.strangers.append(task_id)
    return found


def _limits(recent: Sequence[Listed], *, since: datetime, now: datetime) -> list[str]:
    said: list[str] = []
    times = [event.timestamp for event in recent if event.timestamp is not None]
    if len(recent) >= MOST_LISTED and (not times or min(times) > since):
        before = f" before {min(times):%Y-%m-%d %H:%M:%S} UTC" if times else " earlier"
        said.append(
            f"MoRAG lists the newest {MOST_LISTED} events only: tasks of which no webhook arrived and that were over"
            f"{before} are not found"
        )
    if now - since > KEPT:
        said.append(f"MoRAG keeps its history for {KEPT.days} days only")
    return said
