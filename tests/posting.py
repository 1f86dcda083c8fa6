"""Webhooks that a test sends to a served receiver, each of which has to be accepted."""

from __future__ import annotations

from typing import Any

import deliveries
import servers

STEPS = (
    "markdown_conversion", "metadata_extraction", "content_processing", "chunking", "graph_extraction", "ingestion",
)  # fmt: skip


def post(url: str, *bodies: bytes) -> None:
    for body in bodies:
        answer = servers.exchange(url, servers.request_bytes(body, servers.signed(body)))
        assert answer is not None
        assert answer.status == 200, answer.body


def step(task_id: str, name: str, status: str, percent: float, **more: Any) -> bytes:
    """A flat step with its progress."""
    return deliveries.step_body(task_id, name, status, progress_percent=percent, **more)


def whole_task(task_id: str, **more: Any) -> list[bytes]:
    """All that is told of a task that completes, in the guide's six steps."""
    told = [deliveries.task_body(task_id, "started")]
    for place, name in enumerate(STEPS):
        told.append(step(task_id, name, "started", place * 100 / 6, **more))
        told.append(step(task_id, name, "completed", (place + 1) * 100 / 6, **more))
    return [*told, deliveries.task_body(task_id, "completed", progress=1.0)]
