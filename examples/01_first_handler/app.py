"""A receiver with three handlers. Serve it with `morag-client serve app:receiver`."""

import os

from morag_client import ChunkingCompleted, Context, Event, Receiver, TaskCompleted, on


@on("chunking.completed")
async def index(event: ChunkingCompleted) -> None:
    print(f"{event.document_id}: {event.data.chunks_created} chunks")


# A plain function runs in a thread, so that it may block.
@on(TaskCompleted)
def announce(event: TaskCompleted) -> None:
    print(f"{event.task_id} is done: {event.result.embeddings_stored} embeddings")


@on("*.failed")
async def complain(event: Event, context: Context) -> None:
    print(f"{event.name} (record {context.record_id}): {event.error} [{event.error_code}]")


receiver = Receiver(
    secrets=os.environ.get("MORAG_WEBHOOK_SECRET", "replace-me"),
    database_url=os.environ.get("MORAG_DATABASE_URL", "sqlite:///morag.db"),
)
