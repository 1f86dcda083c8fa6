"""A handler of an event class knows the event's type, and what MoRAG sends with it."""

from datetime import datetime
from typing import Any, assert_type

from morag_client import (
    ChunkingCompleted,
    ChunkingData,
    ErrorDetails,
    Event,
    IngestionCompleted,
    MarkdownConversionCompleted,
    Payload,
    Registry,
    StepCompleted,
    StepFailed,
    StepFailedData,
    TaskCompleted,
    TaskFailed,
    TaskMetadata,
    TaskResult,
    on,
)

registry = Registry()


@on(ChunkingCompleted)
async def chunked(event: ChunkingCompleted) -> None:
    assert_type(event.data, ChunkingData)
    assert_type(event.data.chunks_created, int | None)
    assert_type(event.step, str)
    assert_type(event.task_id, str | None)
    assert_type(event.progress, float | None)
    assert_type(event.occurred_at, datetime | None)
    assert_type(event.metadata, TaskMetadata)
    assert_type(event.data["quality"], Any)


@registry.on(TaskCompleted)
def completed(event: TaskCompleted) -> int:
    assert_type(event.result, TaskResult)
    assert_type(event.result.processing_time_seconds, float | None)
    return event.result.chunks_created or 0


@registry.on(TaskFailed, name="alert", where=lambda event: event.error_details.error_code == "UNSUPPORTED_FORMAT")
def failed(event: TaskFailed) -> None:
    assert_type(event.error_details, ErrorDetails)


@on(IngestionCompleted, where=lambda event: (event.data.embeddings_stored or 0) > 100)
def ingested(event: IngestionCompleted) -> None:
    if event.data.storage_summary is not None:
        assert_type(event.data.storage_summary.qdrant_points, int | None)


@on(MarkdownConversionCompleted)
def converted(event: StepCompleted) -> None:
    """A parent class takes it too."""
    assert_type(event.data, Payload)


@on(StepFailed)
def any_step(event: Event) -> None:
    assert_type(event.error_code, str | None)


def failure(event: StepFailed) -> None:
    assert_type(event.data, StepFailedData)


on(StepFailed)(failure)


async def use(event: ChunkingCompleted, done: TaskCompleted) -> None:
    assert_type(await chunked(event), None)
    assert_type(completed(done), int)
