"""The handlers of the demo, as an application would write them; what they have to say goes to the terminal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from morag_client.events.types import (
    ChunkingCompleted,
    ContentProcessingCompleted,
    Event,
    GraphExtractionCompleted,
    TaskCompleted,
)
from morag_client.handlers.registry import Registry


@dataclass(frozen=True, slots=True)
class Note:
    """What a handler has to say."""

    handler: str
    text: str


def demo_registry(tell: Callable[[Event | Note], None]) -> Registry:
    """A registry whose handlers pass on each event as it is handled, and a note on some of them."""
    registry = Registry()

    @registry.on("*", name="show_progress")
    async def show_progress(event: Event) -> None:
        tell(event)

    @registry.on(ContentProcessingCompleted, name="index_topics")
    async def index_topics(event: ContentProcessingCompleted) -> None:
        topics = ", ".join(event.data.detected_topics or ["nothing in particular"])
        tell(Note("index_topics", f"in {event.data.language}, about {topics}"))

    @registry.on(ChunkingCompleted, name="count_chunks")
    async def count_chunks(event: ChunkingCompleted) -> None:
        data = event.data
        tell(
            Note(
                "count_chunks",
                f"cut into {data.chunks_created}, of {data.average_chunk_size:.0f} characters on average",
            )
        )

    # A plain function: it runs in a thread, so that it may block.
    @registry.on(GraphExtractionCompleted, name="list_entities")
    def list_entities(event: GraphExtractionCompleted) -> None:
        names = ", ".join(str(entity.name) for entity in (event.data.top_entities or [])[:3])
        tell(Note("list_entities", f"{event.data.entities_extracted} entities, first of all {names}"))

    @registry.on(TaskCompleted, name="announce")
    async def announce(event: TaskCompleted) -> None:
        tell(Note("announce", f"{event.result.embeddings_stored} embeddings are in {event.result.database_collection}"))

    @registry.on("*.failed", name="complain")
    async def complain(event: Event) -> None:
        tell(Note("complain", f"{event.name}: {event.error}"))

    return registry
