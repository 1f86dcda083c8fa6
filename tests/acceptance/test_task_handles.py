"""Waiting for a task that was submitted: by its webhooks in an inbox, and by asking a real MoRAG-like server."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import proxies
import pytest

from morag_client import (
    AsyncMoragClient,
    ConfigurationError,
    Event,
    MoragClient,
    NotSupported,
    Receiver,
    Registry,
    TaskFailedError,
    TaskResult,
    TaskTimeout,
    Unreachable,
)
from morag_client.api import following
from morag_client.testing import FaultPlan, MockMorag
from morag_client.testing.serving import ThreadedServer

TASKS = ("guide", "r1", "r2")


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "tides.md"
    path.write_text("# Tides\n\nThe tide is the rise of the sea.\n")
    return path


def broken(document: Path) -> Path:
    path = document.with_name("broken.pdf")
    path.write_bytes(b"%PDF-1.7 and nothing more")
    return path


def client_of(mock: MockMorag, **options: Any) -> MoragClient:
    return MoragClient(base_url=mock.url, api_key="test-api-key", **options)


def async_client_of(mock: MockMorag, **options: Any) -> AsyncMoragClient:
    return AsyncMoragClient(base_url=mock.url, api_key="test-api-key", **options)


@contextlib.contextmanager
def receiving(folder: Path, *, handlers: bool = True) -> Iterator[tuple[Receiver, str]]:
    """A receiver at work in a thread, with an event loop of its own, and the URL of its webhook."""
    registry = Registry()
    if handlers:

        @registry.on("*")
        async def note(event: Event) -> None:
            pass

    receiver = Receiver(registry=registry, secrets=["s3cret"], database_url=f"sqlite:///{folder}/inbox.db")
    with ThreadedServer(receiver) as server:
        yield receiver, f"{server.url}/webhook"


@pytest.mark.parametrize("profile", TASKS)
def test_the_result_by_asking(document: Path, profile: str) -> None:
    with MockMorag(profile=profile) as mock, client_of(mock) as client:
        task = client.task(client.ingest_file(document))

        result = task.result(timeout=30)

    assert isinstance(result, TaskResult)
    assert result.chunks_created or result.chunks_processed


@pytest.mark.parametrize("profile", TASKS)
async def test_the_result_by_asking_from_an_event_loop(document: Path, profile: str) -> None:
    with MockMorag(profile=profile) as mock:
        async with async_client_of(mock) as client:
            submitted = [await client.ingest_file(document) for _ in range(3)]
            results = await asyncio.gather(*(client.task(one).result(timeout=30) for one in submitted))

    assert all(result.chunks_created or result.chunks_processed for result in results)


@pytest.mark.parametrize("profile", TASKS)
def test_the_result_by_webhooks_in_a_receiver_elsewhere(tmp_path: Path, document: Path, profile: str) -> None:
    with (
        receiving(tmp_path) as (receiver, url),
        MockMorag(profile=profile, webhook_secret="s3cret") as mock,
        client_of(mock) as client,
    ):
        task = client.task(client.ingest_file(document, webhook_url=url), inbox=receiver)

        events = list(task)
        result = task.result(timeout=30)

    assert {event.source for event in events} == {"webhook"}
    assert events[-1].name == "task.completed"
    assert events[-1].result == result
    assert len(events) == {"guide": 14, "r1": 5, "r2": 9}[profile]
    progress = [event.progress for event in events if event.progress is not None]
    assert progress == sorted(progress)


async def test_the_result_by_webhooks_in_a_receiver_of_the_same_loop(tmp_path: Path, document: Path) -> None:
    registry = Registry()
    registry.on("*")(lambda event: None)
    receiver = Receiver(registry=registry, secrets=["s3cret"], database_url=f"sqlite:///{tmp_path}/inbox.db")
    with receiving(tmp_path) as (_, url), MockMorag(webhook_secret="s3cret") as mock:
        async with receiver.lifespan(), async_client_of(mock) as client:
            submitted = await client.ingest_file(document, webhook_url=url)
            names = [event.name async for event in client.task(submitted, inbox=receiver)]

    assert names[0] == "task.started"
    assert names[-1] == "task.completed"
    assert len(names) == 14


def test_the_result_from_an_inbox_without_handlers(tmp_path: Path, document: Path) -> None:
    with (
        receiving(tmp_path, handlers=False) as (receiver, url),
        MockMorag(webhook_secret="s3cret") as mock,
        client_of(mock) as client,
    ):
        task = client.task(client.ingest_file(document, webhook_url=url), inbox=receiver)

        assert len(list(task)) == 14


def test_whoever_waits_does_not_become_a_worker(tmp_path: Path, document: Path) -> None:
    handled: list[str] = []
    registry = Registry()

    @registry.on("*")
    def note(event: Event) -> None:
        handled.append(event.name)

    waiting = Receiver(registry=registry, secrets=["s3cret"], database_url=f"sqlite:///{tmp_path}/inbox.db")
    with (
        receiving(tmp_path, handlers=False) as (_, url),
        MockMorag(webhook_secret="s3cret") as mock,
        client_of(mock) as client,
    ):
        assert client.task(client.ingest_file(document, webhook_url=url), inbox=waiting).result(timeout=30)

    assert handled == []


def test_the_events_by_asking(document: Path) -> None:
    with MockMorag(profile="r2", speed=0.6) as mock, client_of(mock) as client:
        events = list(client.task(client.ingest_file(document)))

    assert {event.source for event in events} == {"reconcile"}
    assert events[0].name == "task.started"
    assert events[-1].name == "task.completed"
    assert "task.progress" in [event.name for event in events]
    progress = [event.progress for event in events if event.name == "task.progress"]
    assert progress == sorted(set(progress))


@pytest.mark.parametrize("by_webhook", [False, True])
@pytest.mark.parametrize("profile", TASKS)
def test_a_task_that_fails(tmp_path: Path, document: Path, profile: str, by_webhook: bool) -> None:
    with (
        receiving(tmp_path) as (receiver, url),
        MockMorag(profile=profile, webhook_secret="s3cret") as mock,
        client_of(mock) as client,
    ):
        submitted = client.ingest_file(broken(document), webhook_url=url)
        task = client.task(submitted, inbox=receiver if by_webhook else None)

        with pytest.raises(TaskFailedError, match="failed: ") as caught:
            task.result(timeout=30)

    assert caught.value.task_id == submitted.task_id
    assert caught.value.state == "failed"
    assert caught.value.error
    assert caught.value.event.name in {"task.failed", "processing.failed"}


def test_a_task_that_is_cancelled(document: Path) -> None:
    with MockMorag(profile="r2", speed=1) as mock, client_of(mock) as client:
        submitted = client.ingest_file(document)
        client.cancel(submitted.task_id)

        with pytest.raises(TaskFailedError, match="was cancelled") as caught:
            client.task(submitted.task_id).result(timeout=30)

    assert caught.value.state == "cancelled"


@pytest.mark.parametrize("by_webhook", [False, True])
def test_a_task_that_takes_too_long(tmp_path: Path, document: Path, by_webhook: bool) -> None:
    with (
        receiving(tmp_path) as (receiver, url),
        MockMorag(webhook_secret="s3cret", speed=1) as mock,
        client_of(mock) as client,
    ):
        task = client.task(client.ingest_file(document, webhook_url=url), inbox=receiver if by_webhook else None)
        began = time.monotonic()

        with pytest.raises(TaskTimeout, match=r"has not ended within 0\.8 s; the last that was heard of it is "):
            task.result(timeout=0.8)

    assert time.monotonic() - began < 5


def test_a_release_that_cannot_be_asked(tmp_path: Path, document: Path) -> None:
    with MockMorag(profile="r3") as mock, client_of(mock) as client:
        with pytest.raises(NotSupported):
            client.task("some-job").result(timeout=5)
        with receiving(tmp_path) as (receiver, _), pytest.raises(TaskTimeout, match="nothing was heard of it"):
            client.task("some-job", inbox=receiver).result(timeout=0.5)


def test_a_lost_webhook_is_asked_for(tmp_path: Path, document: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_SILENCE", 0.5)
    with (
        receiving(tmp_path) as (receiver, url),
        MockMorag(webhook_secret="s3cret", faults=FaultPlan.parse("drop:events=task.completed")) as mock,
        client_of(mock) as client,
    ):
        events = list(client.task(client.ingest_file(document, webhook_url=url), inbox=receiver))

    assert [event.source for event in events] == ["webhook"] * 13 + ["reconcile"]
    assert events[-1].name == "task.completed"


def test_a_server_that_is_away(document: Path, caplog: pytest.LogCaptureFixture) -> None:
    with MockMorag(profile="r2") as mock, client_of(mock, attempts=1) as client:
        task = client.task(client.ingest_file(document))

    with pytest.raises(TaskTimeout, match="nothing was heard of it, and MoRAG could not be asked") as caught:
        task.result(timeout=1.5)

    assert isinstance(caught.value.__cause__, Unreachable)
    assert caplog.text.count("is not known at the moment") == 1


def test_a_server_that_comes_back(document: Path) -> None:
    with MockMorag(profile="r2") as mock, client_of(mock, attempts=1) as client:
        submitted = client.ingest_file(document)
        assert mock.wait(submitted.task_id, timeout_seconds=30)
        with proxies.before(mock.url) as proxy:
            proxy.set("refuse")
            with MoragClient(base_url=proxy.through(mock.url), api_key="test-api-key", attempts=1) as behind:
                timer = threading.Timer(1.0, proxy.set, ["pass"])
                timer.start()
                assert behind.task(submitted).result(timeout=20)
                timer.join()


@pytest.mark.parametrize("task", ["", None, 3, object()])
def test_what_names_no_task(task: Any) -> None:
    with MoragClient() as client, pytest.raises(ConfigurationError, match="names no task"):
        client.task(task)


@pytest.mark.parametrize("seconds", [-1, float("nan"), 1e12])
async def test_a_timeout_that_cannot_be(seconds: float) -> None:
    async with AsyncMoragClient() as client:
        with pytest.raises(ConfigurationError, match="timeout="):
            await client.task("t-1").result(timeout=seconds)


def test_whoever_stops_iterating_leaves_nothing_behind(document: Path) -> None:
    with MockMorag(speed=0.1) as mock, client_of(mock) as client:
        submitted = client.ingest_file(document)
        for event in client.task(submitted):
            assert event.name == "task.started"
            break
