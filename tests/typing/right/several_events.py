"""A handler of several classes takes their union, or a class above them."""

from typing import assert_type

from morag_client import (
    ChunkingCompleted,
    ChunkingFailed,
    Event,
    IngestionFailed,
    PipelineFailed,
    StepFailed,
    TaskCompleted,
    TaskFailed,
    on,
)


@on(ChunkingCompleted, TaskCompleted)
def two(event: ChunkingCompleted | TaskCompleted) -> None:
    if isinstance(event, TaskCompleted):
        assert_type(event.result.chunks_created, int | None)
    else:
        assert_type(event.data.chunks_created, int | None)


@on(ChunkingFailed, IngestionFailed, TaskFailed, where=lambda event: event.error is not None)
async def three(event: ChunkingFailed | IngestionFailed | TaskFailed) -> None:
    assert_type(event.error, str | None)


@on(ChunkingFailed, IngestionFailed)
def a_parent(event: StepFailed) -> None:
    assert_type(event.data.error_code, str | None)


@on(ChunkingFailed, IngestionFailed, TaskFailed, PipelineFailed)
def four(event: Event) -> None: ...


@on(ChunkingCompleted, "task.completed")
def mixed(event: Event) -> None: ...


@on([ChunkingCompleted, "task.completed"])
def listed(event: Event) -> None: ...


@on("task.completed")
@on(ChunkingCompleted)
def stacked(event: Event) -> None: ...
