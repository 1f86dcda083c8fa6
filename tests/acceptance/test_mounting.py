"""The receiver inside another application: with its lifespan, inside the user's own, and without any."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import deliveries
import pytest
import receiving
import servers
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from morag_client import Event, Receiver, Registry

Lifespan = Callable[[Any], contextlib.AbstractAsyncContextManager[None]]


def starlette(receiver: Receiver, lifespan: Lifespan | None) -> Any:
    return Starlette(routes=[Mount("/morag", receiver)], lifespan=lifespan)


def fastapi(receiver: Receiver, lifespan: Lifespan | None) -> Any:
    app = FastAPI(lifespan=lifespan)
    app.mount("/morag", receiver)
    return app


def nested(receiver: Receiver, lifespan: Lifespan | None) -> Any:
    return Starlette(routes=[Mount("/", Starlette(routes=[Mount("/morag", receiver)]))], lifespan=lifespan)


def alone(receiver: Receiver, lifespan: Lifespan | None) -> Any:
    """Not mounted at all, but under the same path for the tests' sake."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            scope = {**scope, "root_path": "/morag"}
        await receiver(scope, receive, send)

    return app


MOUNTS = pytest.mark.parametrize("mount", [starlette, fastapi, nested])


class Seen:
    """What the handlers saw, and where they ran."""

    def __init__(self) -> None:
        self.tasks: list[str] = []
        self.registry = Registry()

        @self.registry.on("*", name="plain")
        def plain(event: Event) -> None:
            self.tasks.append(f"plain {event.task_id}")

        @self.registry.on("*", name="async")
        async def later(event: Event) -> None:
            self.tasks.append(f"async {event.task_id}")

    def all_of(self, *tasks: str) -> bool:
        return sorted(self.tasks) == sorted(f"{how} {task}" for task in tasks for how in ("plain", "async"))


def post(url: str, body: bytes) -> servers.Answer:
    return servers.exchange(url, servers.request_bytes(body, servers.signed(body), target=b"/morag/webhook"))


def get(url: str, target: str) -> servers.Answer:
    return servers.exchange(url, servers.request_bytes(b"", method=b"GET", target=target.encode()))


@MOUNTS
def test_with_its_lifespan_over_a_socket(tmp_path: Path, mount: Any, caplog: pytest.LogCaptureFixture) -> None:
    seen = Seen()
    receiver = receiving.receiver_of(tmp_path, seen.registry)
    with servers.serving(mount(receiver, receiver.lifespan)) as url:
        assert get(url, "/morag/health/ready").json == {"status": "ready"}
        for task in "abc":
            assert post(url, deliveries.step_body(task)).json == {"status": "received"}

    assert seen.all_of(*"abc")
    assert "nobody runs its lifespan" not in caplog.text
    assert receiving.query(tmp_path, "SELECT DISTINCT state FROM webhook_events") == [("handled",)]


@MOUNTS
def test_inside_the_users_own_lifespan_over_a_socket(tmp_path: Path, mount: Any) -> None:
    seen = Seen()
    receiver = receiving.receiver_of(tmp_path, seen.registry)
    told: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        told.append("first")
        async with receiver.lifespan(app):
            yield
        told.append(f"after {len(seen.tasks)} runs")

    with servers.serving(mount(receiver, lifespan)) as url:
        assert get(url, "/morag/health/ready").json == {"status": "ready"}
        assert post(url, deliveries.step_body("a")).status == 200

    assert told == ["first", "after 2 runs"]


@MOUNTS
def test_without_any_lifespan_over_a_socket(tmp_path: Path, mount: Any, caplog: pytest.LogCaptureFixture) -> None:
    seen = Seen()
    receiver = receiving.receiver_of(tmp_path, seen.registry)
    with servers.serving(mount(receiver, None)) as url:
        assert get(url, "/morag/health/live").json == {"status": "live"}
        assert not list(tmp_path.iterdir())  # nothing has started yet
        for task in "abc":
            assert post(url, deliveries.step_body(task)).json == {"status": "received"}
        ready = get(url, "/morag/health/ready")
        receiving.eventually(lambda: seen.all_of(*"abc"))

    assert (ready.status, ready.json["status"]) == (200, "degraded")
    assert caplog.text.count("nobody runs its lifespan") == 1
    # It ended with its event loop: nobody holds anything any more.
    assert receiving.query(tmp_path, "SELECT count(*) FROM webhook_workers") == [(0,)]
    assert receiving.query(tmp_path, "SELECT DISTINCT owner FROM webhook_tasks") == [(None,)]


def test_without_a_lifespan_leftovers_wait_for_traffic(tmp_path: Path) -> None:
    seen = Seen()
    with servers.serving(alone(receiving.receiver_of(tmp_path), None)) as url:  # without handlers: stored only
        assert post(url, deliveries.step_body("left")).status == 200
    app = starlette(receiving.receiver_of(tmp_path, seen.registry), None)

    with servers.serving(app) as url:
        assert post(url, deliveries.step_body("new")).status == 200
        receiving.eventually(lambda: seen.all_of("left", "new"))


def client_post(client: TestClient, body: bytes) -> Any:
    answer = client.post("/morag/webhook", content=body, headers=deliveries.headers(body))
    assert answer.status_code == 200
    return answer.json()


@MOUNTS
@pytest.mark.parametrize("has_lifespan", [True, False])
def test_under_the_test_client_with_a_with(tmp_path: Path, mount: Any, has_lifespan: bool) -> None:
    seen = Seen()
    receiver = receiving.receiver_of(tmp_path, seen.registry)
    with TestClient(mount(receiver, receiver.lifespan if has_lifespan else None)) as client:
        for task in "abc":
            assert client_post(client, deliveries.step_body(task)) == {"status": "received"}
        status = client.get("/morag/health/ready").json()["status"]
        receiving.eventually(lambda: seen.all_of(*"abc"))

    assert status == ("ready" if has_lifespan else "degraded")
    assert receiving.query(tmp_path, "SELECT DISTINCT owner FROM webhook_tasks") == [(None,)]


@MOUNTS
@pytest.mark.parametrize("has_lifespan", [True, False])
def test_under_the_test_client_without_a_with(tmp_path: Path, mount: Any, has_lifespan: bool) -> None:
    """Then each request runs in an event loop of its own, which ends with it, and no lifespan runs."""
    seen, threads = Seen(), threading.active_count()
    receiver = receiving.receiver_of(tmp_path, seen.registry)
    client = TestClient(mount(receiver, receiver.lifespan if has_lifespan else None))
    sent = [deliveries.step_body(task) for task in "abcde"]
    began = time.monotonic()
    for body in sent:
        assert client_post(client, body) == {"status": "received"}
        assert client_post(client, body) == {"status": "duplicate"}
    assert client.get("/morag/health/ready").json()["status"] == "degraded"
    assert client.get("/morag/webhooks").status_code == 403

    assert time.monotonic() - began < 8
    assert receiving.counts(tmp_path) == (5, 0)
    del client, receiver
    gc.collect()  # what was left open would be told of now
    receiving.eventually(lambda: threading.active_count() <= threads)

    with TestClient(receiving.receiver_of(tmp_path, seen.registry)):
        receiving.eventually(
            lambda: receiving.query(tmp_path, "SELECT DISTINCT state FROM webhook_events") == [("handled",)]
        )
    # A loop that ends may cut a handler off, which then runs again: at least once, and the plain ones once.
    assert {f"{how} {task}" for task in "abcde" for how in ("plain", "async")} == set(seen.tasks)
    assert sorted(task for task in seen.tasks if "plain" in task) == [f"plain {task}" for task in "abcde"]


def test_handlers_run_under_the_test_client_without_a_with_if_one_gives_them_time(tmp_path: Path) -> None:
    seen = Seen()
    receiver = receiving.receiver_of(tmp_path, seen.registry)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receiver(scope, receive, send)
        await receiver.idle()

    client = TestClient(app)
    for task in "abc":
        body = deliveries.step_body(task)
        assert client.post("/webhook", content=body, headers=deliveries.headers(body)).status_code == 200

    assert seen.all_of(*"abc")


@pytest.mark.filterwarnings("ignore:no database is configured")
def test_a_temporary_database_outlives_the_event_loops_of_the_test_client() -> None:
    client = TestClient(Receiver(registry=Seen().registry, secrets=deliveries.SECRET))
    body = deliveries.step_body("a")

    answers = [client.post("/webhook", content=body, headers=deliveries.headers(body)).json() for _ in range(3)]

    assert [answer["status"] for answer in answers] == ["received", "duplicate", "duplicate"]


def test_behind_a_root_path(tmp_path: Path) -> None:
    body = deliveries.task_body()
    with servers.serving(receiving.receiver_of(tmp_path), root_path="/behind/a/proxy") as url:
        for target, status in ((b"/webhook", 200), (b"/webhook/", 200), (b"/behind/a/proxy/webhook", 404)):
            request = servers.request_bytes(body, servers.signed(body), target=target)
            assert servers.exchange(url, request).status == status
        assert get(url, "/health/ready").status == 200


def test_many_first_requests_at_once_start_it_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    seen = Seen()
    app = starlette(receiving.receiver_of(tmp_path, seen.registry), None)
    with servers.serving(app) as url, ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(lambda number: post(url, deliveries.step_body(f"task-{number}")), range(30)))
        workers = receiving.query(tmp_path, "SELECT count(*) FROM webhook_workers")
        receiving.eventually(lambda: len(seen.tasks) == 60)

    assert [answer.status for answer in answers] == [200] * 30
    assert workers == [(1,)]
    assert caplog.text.count("nobody runs its lifespan") == 1


def test_a_failing_start_is_503_and_tried_again(tmp_path: Path) -> None:
    (tmp_path / "inbox.db").write_text("this is no database " * 1000)
    body = deliveries.task_body()
    with servers.serving(starlette(receiving.receiver_of(tmp_path), None)) as url:
        for _ in range(2):
            answer = post(url, body)
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            assert answer.json["code"] == "unavailable"
        ready = get(url, "/morag/health/ready")
        assert ready.status == 503
        # What the database said is for the log: it may name hosts and users.
        for said in (answer.json["problems"][0], ready.json["detail"]):
            assert said == "the database did not answer as it should"
        assert get(url, "/morag/health/live").status == 200
        (tmp_path / "inbox.db").unlink()

        assert post(url, body).json == {"status": "received"}
        assert get(url, "/morag/health/ready").status == 200


def test_a_start_that_cannot_work_is_503_and_tells_senders_nothing(tmp_path: Path, caplog: Any) -> None:
    with contextlib.closing(receiving.sqlite3.connect(tmp_path / "inbox.db")) as connection:
        connection.execute("CREATE TABLE webhook_events (id TEXT)")
    with servers.serving(starlette(receiving.receiver_of(tmp_path), None)) as url:
        answers = [post(url, deliveries.task_body()), get(url, "/morag/health/ready")]

    for answer in answers:
        assert answer.status == 503
        assert b"webhook_events" not in answer.body
    assert "table_prefix" in caplog.text


def test_proof_comes_before_the_database(tmp_path: Path) -> None:
    (tmp_path / "inbox.db").write_text("this is no database " * 1000)
    body = deliveries.task_body()
    with servers.serving(starlette(receiving.receiver_of(tmp_path), None)) as url:
        request = servers.request_bytes(body, servers.signed(body, "wrong"), target=b"/morag/webhook")
        assert servers.exchange(url, request).status == 401


async def test_who_asked_first_may_hang_up_while_it_starts(tmp_path: Path) -> None:
    receiver = receiving.receiver_of(tmp_path, Seen().registry)
    first = asyncio.create_task(receiver.receive(deliveries.delivery(deliveries.task_body())))
    await asyncio.sleep(0)
    others = [asyncio.create_task(receiver.receive(deliveries.delivery(deliveries.task_body()))) for _ in range(3)]
    await asyncio.sleep(0)
    first.cancel()

    assert [(await other).status for other in others] == ["received"] * 3
    assert first.cancelled()
    async with receiver.lifespan():
        pass


async def test_one_receiver_in_two_event_loops_at_once_is_refused(tmp_path: Path) -> None:
    receiver = receiving.receiver_of(tmp_path)
    async with receiver.lifespan():
        with TestClient(receiver_in_another_loop(receiver)) as client:
            body = deliveries.task_body()
            answer = await asyncio.to_thread(client.post, "/webhook", content=body, headers=deliveries.headers(body))

    assert answer.status_code == 503
    assert "another event loop" in answer.text


def receiver_in_another_loop(receiver: Receiver) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await receiver(scope, receive, send)
        else:
            await Starlette()(scope, receive, send)

    return app


async def test_lifespans_inside_each_other_stop_it_once_at_the_end(tmp_path: Path) -> None:
    receiver = receiving.receiver_of(tmp_path, Seen().registry)
    async with receiver.lifespan():
        [(worker,)] = receiving.query(tmp_path, "SELECT id FROM webhook_workers")
        async with receiver.lifespan():
            await receiving.send(receiver, deliveries.task_body())
        await receiving.send(receiver, deliveries.task_body())
        await receiver.idle()
        assert receiving.query(tmp_path, "SELECT id FROM webhook_workers") == [(worker,)]
    assert receiving.query(tmp_path, "SELECT count(*) FROM webhook_workers") == [(0,)]


def test_a_websocket_is_turned_away(tmp_path: Path) -> None:
    with (
        TestClient(receiving.receiver_of(tmp_path)) as client,
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect("/webhook"),
    ):
        pass


def test_a_lifespan_that_fails_says_why(tmp_path: Path) -> None:
    (tmp_path / "inbox.db").write_text("this is no database " * 1000)
    with (
        pytest.raises(Exception, match="not a database"),
        TestClient(starlette(receiver := receiving.receiver_of(tmp_path), receiver.lifespan)),
    ):
        pass


@pytest.fixture(autouse=True)
def logs(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.INFO)
    yield
    assert "Exception in ASGI application" not in caplog.text
    assert "never retrieved" not in caplog.text
    assert "was destroyed but it is pending" not in caplog.text
