"""How often a handler is tried, how long it may take, and what it may raise."""

from datetime import timedelta
from typing import Any, assert_type

from morag_client import (
    ChunkingCompleted,
    ChunkingFailed,
    Context,
    Discard,
    Event,
    IngestionFailed,
    Registry,
    RetryLater,
    RetryPolicy,
    StepFailed,
    TaskCompleted,
    TaskFailed,
    on,
)

registry = Registry()
policy = RetryPolicy(attempts=3, first=10, cap=timedelta(minutes=5))
assert_type(policy.attempts, int)
assert_type(policy.first, float)
assert_type(policy.cap, float)
assert_type(policy.delay(1, random=lambda: 0.5), float | None)
RetryPolicy()


@on(ChunkingCompleted, retry=policy, timeout=30)
async def of_a_class(event: ChunkingCompleted) -> None:
    if event.data.chunks_created is None:
        raise Discard("it does not say how many")
    raise RetryLater(after=timedelta(minutes=1))


@registry.on("chunking.completed", "task", name="named", retry=RetryPolicy(attempts=1), timeout=timedelta(hours=1))
def of_a_name(event: Event) -> int:
    raise RetryLater(after=0.5) from None


@on(ChunkingCompleted, TaskCompleted, retry=policy, where=lambda event: event.task_id is not None)
def of_two(event: ChunkingCompleted | TaskCompleted) -> None: ...


@on(ChunkingFailed, IngestionFailed, TaskFailed, timeout=1.5, where=lambda event: event.error is not None)
def of_three(event: ChunkingFailed | IngestionFailed | TaskFailed) -> None: ...


@on(ChunkingFailed, IngestionFailed, TaskFailed, StepFailed, retry=None, timeout=None)
def of_four(event: Event) -> None: ...


@on(ChunkingCompleted, "task.completed", retry=policy, timeout=30)
def mixed(event: Event) -> None: ...


@registry.on_error
async def on_error(error: Exception, context: Context) -> None: ...


@registry.on_dead_letter
def on_dead_letter(error: Exception, context: Context) -> str:
    return f"{context.event.name}: {error}"


async def use(event: ChunkingCompleted, error: Exception, context: Context) -> None:
    assert_type(await of_a_class(event), None)
    assert_type(of_a_name(event), int)
    assert_type(on_dead_letter(error, context), str)
    state: Any = context.task
    assert_type(RetryLater(after=30).after_seconds, float)
    assert_type(Discard(f"seen in {state}").reason, str)
