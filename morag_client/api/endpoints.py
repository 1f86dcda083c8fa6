"""MoRAG's calls about tasks and their files, each described once: what to ask, and what the answer is."""

from __future__ import annotations

from morag_client.api.answers import Answer
from morag_client.api.endpoint import Endpoint
from morag_client.api.models import (
    ActiveTasks,
    Cancelled,
    Deleted,
    QueueStats,
    RecentEvents,
    TaskFiles,
    TaskHistory,
    TaskStatus,
)
from morag_client.api.places import segment
from morag_client.api.releases import STAGES_INSTEAD, WITH_TASKS
from morag_client.api.requests import Request
from morag_client.errors import ConfigurationError


def status(task_id: str) -> Endpoint[TaskStatus]:
    """How a task stands. Not in r3."""
    return _asked("status", f"/api/v1/status/{segment(task_id)}", TaskStatus)


def history(task_id: str) -> Endpoint[TaskHistory]:
    """What happened to a task, newest first: 100 entries at most, of seven days. Not in r3."""
    return _asked("history", f"/api/v1/status/{segment(task_id)}/history", TaskHistory)


def recent_events(*, hours: int = 24) -> Endpoint[RecentEvents]:
    """What happened to all tasks lately, newest first: 100 entries at most, whatever the hours. Not in r3."""
    if hours < 1:
        raise ConfigurationError(f"hours= is 1 or more, not {hours}")
    return _asked("recent_events", "/api/v1/status/events/recent", RecentEvents, hours=str(hours))


def active_tasks() -> Endpoint[ActiveTasks]:
    """The tasks that workers are at. Not in r3."""
    return _asked("active_tasks", "/api/v1/status/", ActiveTasks)


def queue_stats() -> Endpoint[QueueStats]:
    """How much there is to do, and who does it. Not in r3."""
    return _asked("queue_stats", "/api/v1/status/stats/queues", QueueStats)


def cancel(task_id: str) -> Endpoint[Cancelled]:
    """Ends a task before its time; of one that has ended, or that nobody knows, it is no error. In r2 only."""
    request = Request(method="DELETE", path=f"/api/v1/ingest/{segment(task_id)}")
    return Endpoint(name="cancel", answer=Cancelled, requests={"r2": request})


def list_files(task_id: str) -> Endpoint[TaskFiles]:
    """The files that a task left: `markdown.md`, `metadata.json`, `chunks.json`. Not in r3."""
    return _asked("list_files", f"/api/files/temp/{segment(task_id)}", TaskFiles)


def delete_files(task_id: str) -> Endpoint[Deleted]:
    """Deletes the files that a task left. Raises NotFound where there are none. Not in r3."""
    request = Request(method="DELETE", path=f"/api/files/temp/{segment(task_id)}")
    return Endpoint(
        name="delete_files", answer=Deleted, requests=dict.fromkeys(WITH_TASKS, request), instead=STAGES_INSTEAD
    )


def _asked(name: str, path: str, answer: type[Answer], **query: str) -> Endpoint[Answer]:
    request = Request(method="GET", path=path, query=query)
    return Endpoint(name=name, answer=answer, requests=dict.fromkeys(WITH_TASKS, request), instead=STAGES_INSTEAD)
