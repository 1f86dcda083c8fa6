"""A catalogue of documents: a handler that fills it, one that reports failures. Its tests are in tests/."""

import os

from morag_client import Event, IngestionCompleted, Receiver, on

catalogue: dict[str, int] = {}
problems: list[str] = []


@on("ingestion.completed")
async def add_to_catalogue(event: IngestionCompleted) -> None:
    if not event.data.chunks_ingested:
        raise ValueError(f"{event.document_id} is empty")
    catalogue[event.document_id or "?"] = event.data.chunks_ingested


# A plain function runs in a thread, so that it may block.
@on("*.failed")
def report(event: Event) -> None:
    problems.append(f"{event.name}: {event.error}")


receiver = Receiver(
    secrets=os.environ.get("MORAG_WEBHOOK_SECRET", "replace-me"),
    database_url=os.environ.get("MORAG_DATABASE_URL", "sqlite:///morag.db"),
)
