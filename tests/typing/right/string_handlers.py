"""A handler of event names is returned as it is; what it is annotated with is checked when the receiver is built."""

from collections.abc import Callable
from typing import assert_type

from morag_client import ChunkingCompleted, Event, Registry, on

registry = Registry()


@on("chunking.completed")
async def chunked(event: ChunkingCompleted) -> None:
    assert_type(event.data.chunks_created, int | None)


@on("*.failed", "task", where=lambda event: event.progress is not None)
def anything(event: Event) -> str:
    return event.name


@registry.on(["chunking", "ingestion.completed"], name="several")
def listed(event: Event) -> None: ...


async def use(event: ChunkingCompleted) -> None:
    assert_type(await chunked(event=event), None)
    assert_type(anything(event=event), str)
    checked: Callable[[Event], str] = anything
    assert_type(checked(event), str)
