"""`/api/tasks`: how tasks are, one of them as a stream, and the same in the application."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import commands
import deliveries
import httpx2
import pytest
import receiving
import servers
import sockets

from morag_client import ConfigurationError, Event, Receiver, RecordNotFound, Registry
from morag_client.receiver import task_routes

KEY = "a long random text for tests"


def registry() -> Registry:
    registry = Registry()

    @registry.on("*", name="look")
    async def look(event: Event) -> None:
        pass

    return registry


@pytest.fixture(params=["with handlers", "without handlers"])
def receiver(request: pytest.FixtureRequest, tmp_path: Path) -> Receiver:
    handled = registry() if request.param == "with handlers" else Registry()
    return receiving.receiver_of(tmp_path, handled, inspect=True, signing_key=KEY)


@pytest.fixture
def url(receiver: Receiver) -> Iterator[str]:
    with servers.serving(receiver) as url:
        yield url


def post(url: str, *bodies: bytes) -> None:
    for body in bodies:
        assert servers.exchange(url, servers.request_bytes(body, servers.signed(body))).status == 200


def tasks(url: str, query: str = "") -> list[dict[str, Any]]:
    answer = httpx2.get(f"{url}/api/tasks{query}")
    assert answer.status_code == 200, answer.text
    return answer.json()["tasks"]


def settled(url: str, count: int) -> None:
    """Waits until so many events have been looked at."""
    receiving.eventually(lambda: sum(task["sequence"] for task in tasks(url)) == count)


def test_a_list_with_filters(url: str) -> None:
    post(url, deliveries.task_body("task-1"), deliveries.task_body("task-2", "completed"))
    post(url, deliveries.step_body("task-3", document_id="doc-3"))
    settled(url, 3)

    assert [task["task_id"] for task in tasks(url)] == ["task-3", "task-2", "task-1"]
    assert [task["task_id"] for task in tasks(url, "?limit=1")] == ["task-3"]
    assert [task["task_id"] for task in tasks(url, "?state=completed")] == ["task-2"]
    assert [task["task_id"] for task in tasks(url, "?document_id=doc-3")] == ["task-3"]
    assert tasks(url, "?tenant=acme") == []


def test_one(url: str) -> None:
    post(url, deliveries.step_body(document_id="doc-1"))
    settled(url, 1)

    task = httpx2.get(f"{url}/api/tasks/task-1").json()

    assert task["state"] == "running"
    assert task["progress"] == 50.0
    assert task["steps"]["chunking"]["status"] == "completed"
    assert task["seconds"] is None
    assert httpx2.get(f"{url}/api/tasks/task-9").status_code == 404


@pytest.mark.parametrize("query", ["?limit=0", "?limit=x", "?state=odd", f"?document_id={'x' * 9000}"])
def test_what_cannot_be_asked(url: str, query: str) -> None:
    assert httpx2.get(f"{url}/api/tasks{query}").status_code in {200, 422}
    assert "document" in query or httpx2.get(f"{url}/api/tasks{query}").status_code == 422


@pytest.mark.parametrize("target", ["/api/tasks", "/api/tasks/task-1", "/api/tasks/task-1/events"])
def test_closed_by_default(tmp_path: Path, target: str) -> None:
    with servers.serving(receiving.receiver_of(tmp_path)) as url:
        assert httpx2.get(f"{url}{target}").status_code == 403


def test_a_progress_token_opens_its_task_and_no_other(tmp_path: Path) -> None:
    receiver = receiving.receiver_of(tmp_path, registry(), signing_key=KEY)
    with servers.serving(receiver) as url:
        post(url, deliveries.step_body(document_id="doc-1"), deliveries.step_body("task-2", document_id="doc-2"))
        for scope in ({"task": "task-1"}, {"document": "doc-1"}, {"all": True}):
            headers = {"authorization": f"Bearer {receiver.progress_token(**scope)}"}
            receiving.eventually(
                lambda headers=headers: httpx2.get(f"{url}/api/tasks/task-1", headers=headers).status_code == 200
            )
            other = httpx2.get(f"{url}/api/tasks/task-2", headers=headers).status_code
            assert other == (200 if "all" in scope else 403)
            assert httpx2.get(f"{url}/api/tasks", headers=headers).status_code == 403
        assert httpx2.get(f"{url}/api/tasks/task-1", headers={"authorization": "Bearer x"}).status_code == 403


class Stream:
    """A stream of server-sent events, read event by event."""

    def __init__(self, response: httpx2.Response) -> None:
        self._lines = response.iter_lines()
        self.comments = 0

    def next(self) -> tuple[int, dict[str, Any]]:
        """The id and the message of the next event."""
        fields: dict[str, str] = {}
        for line in self._lines:
            if line.startswith(":"):
                self.comments += 1
            elif line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif fields:
                assert fields["event"] == "task_update"
                return int(fields["id"]), json.loads(fields["data"])
        raise AssertionError("the stream has ended")


@contextlib.contextmanager
def streamed(url: str, **headers: str) -> Iterator[Stream]:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    with httpx2.stream("GET", f"{url}/api/tasks/task-1/events", headers=sent, timeout=10) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        stream = Stream(response)
        assert next(stream._lines) == ": live"
        yield stream


def test_a_stream_begins_with_the_last_state_and_goes_on(url: str) -> None:
    post(url, deliveries.task_body(), deliveries.task_body("task-2"))
    settled(url, 2)
    with streamed(url) as stream:
        assert stream.next()[0] == 1
        post(url, deliveries.step_body("task-2"), deliveries.step_body())
        number, step = stream.next()
        assert (number, step["event_type"], step["progress_percent"]) == (2, "step_completed", 50.0)
        post(url, deliveries.task_body(status="completed", result={"chunks_processed": 2}))
        number, end = stream.next()
        assert (number, end["state"], end["result"]) == (3, "completed", {"chunks_processed": 2})


def test_what_was_seen_is_not_sent_again(url: str) -> None:
    post(url, deliveries.task_body(), deliveries.step_body())
    settled(url, 2)
    with streamed(url, last_event_id="2") as stream:
        post(url, deliveries.step_body(step="ingestion"))
        assert stream.next()[0] == 3
    with streamed(url, last_event_id="2") as stream:
        assert stream.next()[0] == 3


def test_a_task_that_is_not_known_yet_is_waited_for(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_routes, "HEARTBEAT", 0.05)
    with streamed(url) as stream:
        receiving.eventually(lambda: True)
        post(url, deliveries.task_body())
        assert stream.next()[0] == 1
        post(url, deliveries.step_body())
        assert stream.next()[0] == 2
    with streamed(url) as stream:
        stream.next()
        asyncio.run(asyncio.sleep(0.2))
        post(url, deliveries.step_body(step="ingestion"))
        stream.next()
        assert stream.comments


def test_open_connections_do_not_keep_a_server(tmp_path: Path) -> None:
    variables = {"MORAG_DATABASE_URL": receiving.url_of(tmp_path), "MORAG_GRACE": "1"}
    with (
        commands.served(tmp_path, "--inspect", **variables) as served,
        streamed(served.url) as stream,
        sockets.connected(served.url),
    ):
        post(served.url, deliveries.task_body())
        stream.next()

        assert served.stop(seconds=10) == 0
        assert "Traceback" not in served.output, served.output


async def test_watching_a_task_until_its_end(receiver: Receiver) -> None:
    async with receiver.lifespan():
        await receiving.send(receiver, deliveries.task_body())
        seen: list[tuple[int, str]] = []

        async def watch() -> None:
            async for task in receiver.tasks.watch("task-1"):
                said = task.sequence, task.state
                seen.append(said)

        watching = asyncio.create_task(watch())
        await receiving.until(lambda: seen)
        await receiving.send(receiver, deliveries.step_body())
        await receiving.until(lambda: len(seen) == 2)
        await receiving.send(receiver, deliveries.task_body("task-2"), deliveries.task_body(status="completed"))
        await asyncio.wait_for(watching, 5)

    assert seen == [(1, "running"), (2, "running"), (3, "completed")]


async def test_watching_what_ended_long_ago(receiver: Receiver) -> None:
    async with receiver.lifespan():
        await receiving.send(receiver, deliveries.task_body(), deliveries.task_body(status="failed", error="no"))
        await receiver.idle()

        assert [task.state async for task in receiver.tasks.watch("task-1")] == ["failed"]


async def test_a_slow_watcher_misses_states_in_between_and_never_the_last(receiver: Receiver) -> None:
    async with receiver.lifespan():
        await receiving.send(receiver, deliveries.task_body())
        sequences = []
        async for task in receiver.tasks.watch("task-1"):
            sequences.append(task.sequence)
            if len(sequences) == 1:
                bodies = [deliveries.step_body(step=f"step-{number}") for number in range(250)]
                await receiving.send(receiver, *bodies, deliveries.task_body(status="completed"))
                await receiver.idle()
                await asyncio.sleep(0.5)

    assert sequences[-1] == 252
    assert sequences == sorted(set(sequences))
    assert len(sequences) <= 102


async def test_watchers_end_with_the_receiver(receiver: Receiver) -> None:
    async def watch() -> None:
        async for _ in receiver.tasks.watch("task-1"):
            pass

    async with receiver.lifespan():
        watching = asyncio.create_task(watch())
        await asyncio.sleep(0.1)
    await asyncio.wait_for(watching, 5)


async def test_which_task_has_to_be_said(receiver: Receiver) -> None:
    async with receiver.lifespan():
        with pytest.raises(ConfigurationError, match="which task"):
            await anext(receiver.tasks.watch())
        with pytest.raises(RecordNotFound):
            await receiver.tasks.get("task-9")


async def test_records_without_handlers_stay_for_a_receiver_that_has_some(tmp_path: Path) -> None:
    handled: list[str] = []
    later = Registry()

    @later.on("*", name="look")
    async def look(event: Event) -> None:
        handled.append(event.name)

    async with receiving.working(tmp_path) as receiver:
        await receiving.send(receiver, deliveries.task_body(), deliveries.step_body())
        assert (await receiver.tasks.get("task-1")).sequence == 2
        assert [record.state for record in await receiver.events.list()] == ["stored", "stored"]
    async with receiving.working(tmp_path, later) as receiver:
        await receiver.idle()
        assert handled == ["task.started", "chunking.completed"]
        assert (await receiver.tasks.get("task-1")).sequence == 2
    # and one without handlers goes on from there
    async with receiving.working(tmp_path) as receiver:
        await receiving.send(receiver, deliveries.step_body(step="ingestion", progress_percent=80))
        task = await receiver.tasks.get("task-1")
        assert (task.sequence, task.progress, set(task.steps)) == (3, 80.0, {"chunking", "ingestion"})
