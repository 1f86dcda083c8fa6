"""What events may be passed on, and what may be made of them."""

from datetime import timedelta
from typing import Any, assert_type

from morag_client import ChunkingCompleted, ChunkingFailed, Event, Receiver, RetryPolicy


def as_object(event: Event) -> dict[str, str] | None:
    return {"event": event.name} if event.task_id else None


def as_bytes(event: Event) -> bytes:
    return event.name.encode()


async def as_text(event: Event) -> str:
    return event.name


class Table:
    async def __call__(self, event: ChunkingCompleted) -> dict[str, Any]:
        return {"chunks": event.data.chunks_created}


def pass_on(receiver: Receiver, url: str) -> None:
    assert_type(receiver.forward("*", to=url), str)
    receiver.forward("*.failed", to=url, format="slack")
    receiver.forward("task", ["chunking", ChunkingFailed], ChunkingCompleted, to=url, format="morag", secret=b"s")
    receiver.forward("*", to=url, format=as_object, secret="s", name="objects", headers={"Authorization": "Bearer t"})
    receiver.forward("*", to=url, format=as_bytes, retry=RetryPolicy(attempts=3), timeout=10)
    receiver.forward(
        "*", to=url, format=as_text, timeout=timedelta(seconds=10), where=lambda event: event.task_id == "t"
    )
    receiver.forward(ChunkingCompleted, to=url, format=Table(), allow_private=["n8n.internal", "127.0.0.1:5678"])
    receiver.forward(ChunkingCompleted, to=url, format=lambda event: None, allow_private="n8n.internal")
