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


class BatchSubmission(Payload):
    """Documents that MoRAG has taken; r1 makes a task of each, r2 one of all."""

    batch_id: str | None = None
    task_ids: tuple[str, ...] = ()
    total_items: int | None = None
    message: str | None = None


class Processed(Payload):
    """What `process` made of a document: its `content` at once, or with `mode="ingest"` a `task_id`."""

    success: bool
    mode: str | None = None
    content: str | None = None
    metadata: dict[str, Any] | None = None
    processing_time_ms: float | None = None
    task_id: str | None = None
    estimated_time_seconds: float | None = None
    status_url: str | None = None
    document_id: str | None = None
    error_message: str | None = None
    warnings: tuple[Any, ...] | None = None
    message: str | None = None


class RecentEvent(HistoryEntry):
    task_id: str | None = None


class RecentEvents(Payload):
    """What happened to all tasks, newest first; MoRAG names at most 100 entries."""

    events: tuple[RecentEvent, ...] = ()
    count: int | None = None
    hours: int | None = None


class ActiveTasks(Payload):
    """The tasks that workers are at, as the release describes them; r1 counts as `count`, r2 as `total_count`."""

    active_tasks: list[Any] | dict[str, Any]

    @property
    def number(self) -> int:
        """How many they are, whatever the release calls that."""
        counted = self.get("total_count", self.get("count"))
        return counted if isinstance(counted, int) else len(self.active_tasks)


class QueueStats(Payload):
    """How much there is to do; numbers or lists, as the release has them."""

    active_tasks: Any = None
    scheduled_tasks: Any = None
    reserved_tasks: Any = None
    workers: Any = None


class Cancelled(Payload):
    message: str | None = None
    task_id: str | None = None


class TaskFile(Payload):
    """A file that a task left; `url` is what `download` takes."""

    filename: str
    size_bytes: int | None = None
    content_type: str | None = None
    url: str | None = None


class TaskFiles(Payload):
    files: tuple[TaskFile, ...] = ()
    session_id: str | None = None
    total_size_bytes: int | None = None


class Deleted(Payload):
    success: bool | None = None
    message: str | None = None


class StageInfo(Payload):
    """A stage that MoRAG has."""

    stage_type: str | int
    description: str | None = None
    input_formats: tuple[str, ...] = ()
    output_formats: tuple[str, ...] = ()
    dependencies: tuple[str | int, ...] = ()


class StageList(Payload):
    stages: tuple[StageInfo, ...] = ()
    total_count: int | None = None


class StageFile(Payload):
    """A file that a stage left; `file_path` is what `files.download` and `files.info` take."""

    filename: str | None = None
    file_path: str
    file_size: int | None = None
    created_at: UtcDatetime | None = None
    stage_type: str | int | None = None
    content_type: str | None = None
    checksum: str | None = None


class StageFiles(Payload):
    files: tuple[StageFile, ...] = ()
    total_count: int | None = None
    total_size: int | None = None


class StageRun(Payload):
    """How a stage ended: `status` is `completed`, `failed` or `skipped`."""

    success: bool
    stage_type: str | int | None = None
    status: str | None = None
    output_files: tuple[StageFile, ...] = ()
    metadata: dict[str, Any] | None = None
    error_message: str | None = None
    webhook_sent: bool | None = None


class ChainRun(Payload):
    """How several stages ended; `total_execution_time` is in seconds."""

    success: bool
    stages_executed: tuple[StageRun, ...] = ()
    total_execution_time: float | None = None
    failed_stage: str | int | None = None
    final_output_files: tuple[StageFile, ...] = ()


class JobStatus(Payload):
    """How a job of stages stands; `progress_percentage` is 0 to 100."""

    job_id: str | None = None
    overall_status: str | None = None
    stages_completed: tuple[str | int, ...] = ()
    current_stage: str | int | None = None
    available_files: tuple[StageFile, ...] = ()
    progress_percentage: float | None = None
