"""The calls of MoRAG's webhook service: each says of one moment where it is to be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from morag_client.testing.moments import Moment

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """A moment to be told, and to whom; without a URL to the emitter's own."""

    moment: Moment
    webhook_url: str | None


def task_started(*, task_id: str, webhook_url: str | None = None, metadata: Object | None = None) -> Call:
    """Says that a task begins. True if the receiver accepted."""
    return Call(
        Moment(name="task.started", task_id=task_id, message="Task processing started", metadata=metadata or {}),
        webhook_url,
    )


def task_progress(
    *,
    task_id: str,
    progress: float,
    webhook_url: str | None = None,
    message: str = "Processing content...",
    metadata: Object | None = None,
) -> Call:
    """Says how far a task is; `progress` is 0 to 1, as in the guide. True if the receiver accepted."""
    return Call(
        Moment(
            name="task.progress", task_id=task_id, progress=progress * 100, message=message, metadata=metadata or {}
        ),
        webhook_url,
    )


def task_completed(
    *, task_id: str, webhook_url: str | None = None, result: Object | None = None, metadata: Object | None = None
) -> Call:
    """Says that a task is done, and what it produced. True if the receiver accepted."""
    return Call(
        Moment(
            name="task.completed",
            task_id=task_id,
            progress=100.0,
            message="Task completed successfully",
            result=result or {},
            metadata=metadata or {},
        ),
        webhook_url,
    )


def task_failed(
    *,
    task_id: str,
    error: str,
    webhook_url: str | None = None,
    error_details: Object | None = None,
    metadata: Object | None = None,
) -> Call:
    """Says that a task has failed, and why. True if the receiver accepted."""
    return Call(
        Moment(
            name="task.failed",
            task_id=task_id,
            message="Task failed",
            error=error,
            error_details=error_details or {},
            metadata=metadata or {},
        ),
        webhook_url,
    )


def step_started(
    *,
    task_id: str,
    step: str,
    progress_percent: float,
    webhook_url: str | None = None,
    document_id: str | None = None,
    data: Object | None = None,
) -> Call:
    """Says that a step begins; `progress_percent` is of the whole task, 0 to 100. True if the receiver accepted."""
    return Call(_step("started", task_id, document_id, step, progress_percent, data), webhook_url)


def step_completed(
    *,
    task_id: str,
    step: str,
    progress_percent: float,
    webhook_url: str | None = None,
    document_id: str | None = None,
    data: Object | None = None,
) -> Call:
    """Says that a step is done, and what it found. True if the receiver accepted."""
    return Call(_step("completed", task_id, document_id, step, progress_percent, data), webhook_url)


def step_failed(
    *,
    task_id: str,
    step: str,
    progress_percent: float,
    error_message: str,
    webhook_url: str | None = None,
    document_id: str | None = None,
    data: Object | None = None,
) -> Call:
    """Says that a step has failed, and why. True if the receiver accepted."""
    return Call(_step("failed", task_id, document_id, step, progress_percent, data, error_message), webhook_url)


def _step(
    status: str,
    task_id: str,
    document_id: str | None,
    step: str,
    progress: float,
    data: Object | None,
    error: str | None = None,
) -> Moment:
    return Moment(
        name=f"{step}.{status}",
        task_id=task_id,
        document_id=document_id,
        step=step,
        progress=progress,
        data=data,
        error=error,
    )
