"""What a receiver tells of what it has, with names for annotations."""

from typing import assert_type

from morag_client import Context, Event, Receiver, Record, Statistics, TaskState


async def look(receiver: Receiver) -> float | None:
    for task in await receiver.tasks.list(state="failed", document_id="doc-1", limit=5):
        assert_type(task, TaskState)
    task = await receiver.tasks.get("task-1")
    assert_type(task.seconds, float | None)
    assert_type([step.seconds for step in task.steps.values()], list[float | None])
    records = await receiver.events.list(state="retrying", task_id="task-1", name="chunking.completed")
    said(await receiver.stats(), records[0])
    return (await receiver.stats()).success_rate


def said(statistics: Statistics, record: Record) -> tuple[int, float, str]:
    return statistics.total_received, statistics.steps["chunking"].p90, record.runs[0].state


async def index(event: Event, context: Context) -> None:
    task: TaskState | None = context.task
    assert task is None or task.progress >= 0
