"""From a mock MoRAG of each release to a real receiver: everything is accepted, stored once, and handled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import receiving
from mocking import Asked, asked

from morag_client import Receiver, Registry
from morag_client.events.types import Event
from morag_client.testing import FaultPlan
from morag_client.testing.serving import ThreadedServer

STAGES = ["markdown-conversion", "markdown-optimizer", "chunker", "fact-generator", "ingestor"]


def submit(morag: Asked, profile: str, url: str) -> None:
    if profile == "r3":
        request = {"stages": STAGES, "webhook_config": {"url": url}}
        assert morag.upload("/api/v1/stages/chain", request=request).json()["success"]
    elif profile == "r2":
        morag.ingest(request_data={"webhook_url": url, "document_id": "d-1"})
    else:
        morag.ingest(webhook_url=url, metadata={"document_id": "d-1"})


def received(folder: Path, profile: str, *, count: int, **options: Any) -> tuple[list[str], list[bool]]:
    """The names of the events that a handler got, and whether each delivery was accepted."""
    handled: list[str] = []
    registry = Registry()

    @registry.on("*")
    def note(event: Event) -> None:
        handled.append(event.name)

    receiver = Receiver(
        registry=registry, secrets=["s3cret"], database_url=f"sqlite:///{folder}/inbox.db", inspect=True
    )
    with ThreadedServer(receiver) as server, asked(profile=profile, webhook_secret="s3cret", **options) as morag:
        submit(morag, profile, f"{server.url}/webhook")
        receiving.eventually(lambda: len(handled) >= count, seconds=20)
        return handled, [result.ok for result in morag.mock.deliveries]


@pytest.mark.parametrize(
    ("profile", "options", "count", "last"),
    [
        ("guide", {}, 14, "task.completed"),
        ("guide", {"envelope_steps": True}, 14, "task.completed"),
        ("r1", {}, 5, "task.completed"),
        ("r2", {}, 9, "task.completed"),
        ("r3", {}, 7, "chain.completed"),
    ],
)
def test_each_release(tmp_path: Path, profile: str, options: dict[str, Any], count: int, last: str) -> None:
    handled, accepted = received(tmp_path, profile, count=count, **options)

    assert (len(handled), accepted) == (count, [True] * count)
    assert last in handled
    assert "unknown" not in handled


@pytest.mark.parametrize(
    ("profile", "fault", "sent", "count"),
    [
        ("guide", "duplicate:times=3", 42, 14),
        ("guide", "restart:after=content_processing.completed", 21, 21),
        ("r2", "restart:after=content_processing.completed", 15, 15),
        ("r3", "restart:after=stage.chunker.completed", 10, 10),
    ],
)
def test_with_faults(tmp_path: Path, profile: str, fault: str, sent: int, count: int) -> None:
    handled, accepted = received(tmp_path, profile, count=count, faults=FaultPlan.parse([fault]))

    assert len(accepted) == sent
    assert all(accepted)
    assert len(handled) == count
