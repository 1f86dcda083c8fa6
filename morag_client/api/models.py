"""What MoRAG's REST API answers; fields of other releases are kept (`status["field"]`)."""

from __future__ import annotations

from typing import Any

from morag_client.events.payloads import Payload, UtcDatetime


class Submission(Payload):
    """A document that MoRAG has taken; `estimated_time` is in seconds."""

    task_id: str
    status: str | None = None
    message: str | None = None
    estimated_time: float | None = None


class TaskStatus(Payload):
    """How a task stands.

    `progress` is 0 to 1. `status` is a word of the release: r1 `pending, started, progress, success, failure, retry,
    revoked`, r2 `pending, running, completed, failed, cancelled, unknown`. r1 answers `pending` for an unknown task.
    """

    task_id: str
    status: str
    progress: float | None = None
    message: str | None = None
    result: dict[str, Any] | None = None
    error: str | None = None
    created_at: UtcDatetime | None = None
    started_at: UtcDatetime | None = None
    completed_at: UtcDatetime | None = None
    estimated_time_remaining: float | None = None
    """Seconds."""


class HistoryEntry(Payload):
    timestamp: UtcDatetime | None = None
    status: str | None = None
    progress: float | None = None
    """0 to 1."""
    message: str | None = None
    metadata: dict[str, Any] | None = None


class TaskHistory(Payload):
    """What happened to a task, newest first; MoRAG keeps at most 100 entries, for seven days."""

    task_id: str
    history: tuple[HistoryEntry, ...] = ()
    event_count: int | None = None


class ActiveTasks(Payload):
    """The tasks that workers are at; r1 counts them as `count`, r2 as `total_count`."""

    active_tasks: tuple[Any, ...] = ()
