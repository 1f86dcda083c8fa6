"""How everything is doing, at a glance."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pydantic_core import from_json

from morag_client.dashboard import views
from morag_client.inbox import task_listing
from morag_client.inbox.activity import Activity
from morag_client.inbox.backlog import backlog_of
from morag_client.inbox.inbox import Inbox
from morag_client.inbox.statistics import durations_of

RANGES: Final = {
    "15m": (timedelta(minutes=15), timedelta(seconds=15)),
    "1h": (timedelta(hours=1), timedelta(minutes=1)),
    "6h": (timedelta(hours=6), timedelta(minutes=6)),
    "24h": (timedelta(hours=24), timedelta(minutes=20)),
    "7d": (timedelta(days=7), timedelta(hours=2)),
}
"""How far back, and in which portions."""
STALLED: Final = timedelta(minutes=10)
"""A task in flight that nothing was heard of for so long."""
GUIDE_STEPS: Final = (
    "markdown_conversion", "metadata_extraction", "content_processing", "chunking", "graph_extraction", "ingestion",
)  # fmt: skip

_IN_FLIGHT: Final = 30
_ENDED: Final = 10
_STEPS_OF: Final = 2000
_PIPELINE_OF: Final = 20
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


async def overview(inbox: Inbox, *, now: datetime) -> dict[str, Any]:
    """What is in flight and what has ended lately, and how much waits."""
    database, patience = inbox.database, inbox.patience
    page = task_listing.page
    in_flight = await page(database, limit=_IN_FLIGHT, states=task_listing.OPEN, patience=patience)
    ended = await page(database, limit=_ENDED, states=task_listing.ENDED, patience=patience)
    standing = await task_listing.standing(database, silent_since=now - STALLED, patience=patience)
    backlog = await backlog_of(database, patience=patience)
    steps = await task_listing.completed_steps(database, tasks=_PIPELINE_OF, patience=patience)
    return {
        "now": views.described(now),
        "in_flight": [views.task(row) for row in in_flight],
        "ended": [views.task(row) for row in ended],
        "tasks": {state: standing.states.get(state, 0) for state in task_listing.STATES},
        "stalled": standing.stalled,
        "stalled_after": STALLED.total_seconds(),
        "backlog": views.described(asdict(backlog)),
        "pipeline": pipeline(steps),
    }


async def over_time(inbox: Inbox, activity: Activity, *, of: str, now: datetime) -> dict[str, Any]:
    """What came and what failed, from portion to portion."""
    reach, width = RANGES[of]
    last = now - (now - _EPOCH) % width
    moments = [last - width * back for back in range(int(reach / width) - 1, -1, -1)]
    buckets = await activity.between(moments, now=now, patience=inbox.patience)
    return {"range": of, "width": width.total_seconds(), "buckets": views.described([asdict(one) for one in buckets])}


async def durations(inbox: Inbox) -> dict[str, Any]:
    """How long the steps of the newest completed tasks took, in the order of the pipeline."""
    steps = await task_listing.completed_steps(inbox.database, tasks=_STEPS_OF, patience=inbox.patience)
    found = await asyncio.to_thread(durations_of, steps)
    ordered = [*(name for name in pipeline(steps[:_PIPELINE_OF]) if name in found), *found]
    return {
        "tasks": len(steps),
        "steps": [{"name": name, **asdict(found[name])} for name in dict.fromkeys(ordered)],
    }


def pipeline(steps: Sequence[str]) -> list[str]:
    """The steps that a task goes through, from those of completed ones, newest first; the guide's where there are none.

    In the order in which they began, or ended.
    """
    moments: dict[str, list[str]] = {}
    for place, stored in enumerate(steps):
        decoded = from_json(stored)
        times = [str(step["started_at"] or step["finished_at"] or "") for step in decoded.values()]
        for name, moment in zip(decoded, times, strict=True):
            if name != "processing":
                moments.setdefault(name, [f"{place:04}", moment])
    return sorted(moments, key=lambda name: _order(name, moments[name])) or list(GUIDE_STEPS)


def _order(name: str, moment: list[str]) -> tuple[int, list[str]]:
    return (GUIDE_STEPS.index(name), []) if name in GUIDE_STEPS else (len(GUIDE_STEPS), moment)
