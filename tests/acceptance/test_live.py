"""Live progress over Socket.IO: who is told, what, and in which order."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import deliveries
import pytest
import receiving
import servers
import sockets
from starlette.applications import Starlette
from starlette.routing import Mount

from morag_client import ConfigurationError, Context, Event, Receiver, Registry, RetryLater, RetryPolicy, Tenant
from morag_client.progress import feed

KEY = "a long random text for tests"


def registry() -> Registry:
    registry = Registry()

    @registry.on("*", name="look")
    async def look(event: Event) -> None:
        pass

    return registry


def post(url: str, *bodies: bytes) -> None:
    for body in bodies:
        assert servers.exchange(url, servers.request_bytes(body, servers.signed(body))).status == 200


@pytest.fixture(params=["with handlers", "without handlers"])
def handled(request: pytest.FixtureRequest) -> Registry:
    return registry() if request.param == "with handlers" else Registry()


@pytest.fixture
def receiver(tmp_path: Path, handled: Registry) -> Receiver:
    return receiving.receiver_of(tmp_path, handled, inspect=True, signing_key=KEY)


@pytest.fixture
def url(receiver: Receiver) -> Iterator[str]:
    with servers.serving(receiver) as url:
        yield url


def test_what_a_message_says(url: str) -> None:
    with sockets.connected(url) as client:
        post(url, deliveries.task_body(message="going"))
        first = client.receive()
        post(url, deliveries.step_body(document_id="doc-1", data={"chunks_created": 3}))
        step = client.receive()
        post(url, deliveries.task_body(status="completed", result={"chunks_processed": 3}))
        end = client.receive()

    assert first.pop("timestamp") == "2024-01-01T10:00:00Z"
    assert first == {
        "event_type": "task_started",
        "name": "task.started",
        "task_id": "task-1",
        "document_id": None,
        "progress_percent": 0.0,
        "state": "running",
        "sequence": 1,
        "message": "going",
        "result": None,
        "step": None,
        "stage": None,
        "status": "started",
        "error_message": None,
        "data": None,
    }
    assert (step["event_type"], step["name"], step["step"]) == ("step_completed", "chunking.completed", "chunking")
    assert (step["progress_percent"], step["message"]) == (50.0, "chunking completed")
    assert (step["document_id"], step["data"], step["result"]) == ("doc-1", {"chunks_created": 3}, None)
    assert (end["event_type"], end["progress_percent"]) == ("task_completed", 100.0)
    assert end["result"] == {"chunks_processed": 3}
    assert [update["sequence"] for update in client.updates] == [1, 2, 3]


def test_the_last_state_comes_first_with_its_result(url: str) -> None:
    post(url, deliveries.task_body("task-0"), deliveries.task_body(), deliveries.step_body())
    post(url, deliveries.task_body("task-0", "completed", result={"chunks_processed": 9}, message="there"))
    with sockets.connected(url) as early:
        known = {"task-0": 2, "task-1": 2}
        # given that all of it has been looked at
        receiving.eventually(lambda: sequences_of(url) == known)
        with sockets.connected(url) as client:
            last = [client.receive(), client.receive()]
            post(url, deliveries.step_body(step="ingestion"))
            then = client.receive()
        assert early.receive_until(3)[-1] == 3

    assert [(update["task_id"], update["sequence"]) for update in last] == [("task-1", 2), ("task-0", 2)]
    assert (last[0]["step"], last[0]["status"], last[0]["progress_percent"]) == ("chunking", "completed", 50.0)
    assert (last[1]["event_type"], last[1]["message"]) == ("task_completed", "there")
    assert last[1]["result"] == {"chunks_processed": 9}
    assert (then["task_id"], then["sequence"]) == ("task-1", 3)


def sequences_of(url: str) -> dict[str, int]:
    answer = servers.exchange(url, servers.request_bytes(b"", target=b"/api/tasks", method=b"GET"))
    return {task["task_id"]: task["sequence"] for task in answer.json["tasks"]}


def test_a_late_event_takes_a_number_and_is_not_told(url: str) -> None:
    with sockets.connected(url) as client:
        post(url, deliveries.step_body(), deliveries.task_body(), deliveries.step_body(step="ingestion"))

        assert client.receive_until(3) == [1, 3]


def test_nothing_is_lost_or_twice_for_whoever_joins_in_the_middle(url: str) -> None:
    with sockets.connected(url) as first:
        for number in range(30):
            post(url, deliveries.step_body(step=f"step-{number}", progress_percent=number))
            if number == 10:
                second = sockets.connected(url)
                late = second.__enter__()
        assert first.receive_until(30) == list(range(1, 31))
        told = late.receive_until(30)
        second.__exit__(None, None, None)

    assert told == list(range(told[0], 31))


def test_ten_updates_a_second_and_never_without_the_last(url: str) -> None:
    with sockets.connected(url) as client:
        began = time.monotonic()
        for number in range(60):
            post(url, deliveries.step_body(status="started", progress_percent=number / 2))
        post(url, deliveries.step_body(status="started", progress_percent=77))
        took = time.monotonic() - began
        told = client.receive_until(61)

        assert len(told) <= 10 * took + 2
        assert told == sorted(set(told))
        assert client.updates[-1]["progress_percent"] == 77
        assert client.is_silent()


def test_changes_of_status_are_always_told(url: str) -> None:
    bodies = [
        deliveries.step_body(step=f"step-{number}", status=status)
        for number in range(10)
        for status in ("started", "completed")
    ]
    with sockets.connected(url) as client:
        post(url, *bodies)

        assert client.receive_until(20) == list(range(1, 21))


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ({"task": "task-1"}, {"task-1"}),
        ({"document": "doc-2"}, {"task-2"}),
        ({"all": True}, {"task-1", "task-2", "task-3"}),
    ],
)
def test_a_token_opens_what_it_is_for(receiver: Receiver, url: str, scope: dict[str, Any], expected: set[str]) -> None:
    # given one task before, and others after the connection is made
    post(url, deliveries.task_body("task-1"))
    token = receiver.progress_token(**scope)
    with sockets.connected(url, {"token": token}) as client, sockets.connected(url) as everything:
        post(url, deliveries.step_body("task-2", document_id="doc-2"), deliveries.step_body("task-3"))
        post(url, deliveries.step_body("task-1", step="ingestion"))
        everything.receive_until(2)
        while not client.is_silent():
            pass

    assert {update["task_id"] for update in client.updates} == expected


def test_a_correlation_is_followed_by_the_ids_that_were_signed(tmp_path: Path) -> None:
    receiver = receiving.receiver_of(
        tmp_path, registry(), secrets=None, signing_key=KEY, public_url="https://app.example.com", inspect=True
    )
    token = receiver.progress_token(correlation={"user": 7})
    with servers.serving(receiver) as url, sockets.connected(url, {"token": token}) as client:
        for user, task in ((8, "theirs"), (7, "mine"), (77, "another's")):
            target = receiver.webhook_url(user=user, page=1).removeprefix("https://app.example.com").encode()
            body = deliveries.task_body(task)
            assert servers.exchange(url, servers.request_bytes(body, target=target)).status == 200
        with sockets.connected(url, {"token": token}) as later:
            assert later.receive()["task_id"] == "mine"
            assert later.is_silent()

        assert client.receive()["task_id"] == "mine"
        assert client.is_silent()


def test_tokens_that_are_not_good_are_refused_with_a_reason(tmp_path: Path, receiver: Receiver, url: str) -> None:
    foreign = receiving.receiver_of(tmp_path, signing_key="another key, as long as ours")
    token = receiver.progress_token(task="task-1")
    webhook = receiving.receiver_of(tmp_path, signing_key=KEY, public_url="https://app.example.com").webhook_url()
    cases = [
        (foreign.progress_token(all=True), "no configured key made it"),
        (token[:-2] + ("AA" if token[-2:] != "AA" else "BB"), "no configured key made it"),
        (webhook.rpartition("/")[2], "is no progress token"),
        ("", "is no progress token"),
        (7, "is no progress token"),
    ]
    for bad, reason in cases:
        with pytest.raises(sockets.Refused, match=reason), sockets.connected(url, {"token": bad}):
            pass


def test_an_expired_token_is_refused(receiver: Receiver, url: str) -> None:
    token = receiver.progress_token(all=True, max_age=0.01)
    time.sleep(1.1)

    with pytest.raises(sockets.Refused, match="has expired"), sockets.connected(url, {"token": token}):
        pass


def test_without_a_token_only_where_it_was_opened(tmp_path: Path) -> None:
    with (
        servers.serving(receiving.receiver_of(tmp_path, signing_key=KEY)) as url,
        pytest.raises(sockets.Refused, match="a token is missing"),
        sockets.connected(url),
    ):
        pass


@pytest.mark.parametrize("headers", [{"X-Forwarded-For": "192.0.2.1"}, {"Host": "inbox.example.com"}])
def test_inspect_opens_nothing_to_other_machines(url: str, headers: dict[str, str]) -> None:
    with pytest.raises(sockets.Refused, match="this machine itself only"), sockets.connected(url, headers=headers):
        pass


def test_pages_of_other_origins_stay_outside(tmp_path: Path) -> None:
    receiver = receiving.receiver_of(
        tmp_path, signing_key=KEY, progress_origins="https://app.example.com, https://b.example.com:8443"
    )
    token = {"token": receiver.progress_token(all=True)}
    with servers.serving(receiver) as url:
        for origin in ("https://app.example.com", "https://b.example.com:8443", url):
            with sockets.connected(url, token, origin=origin):
                pass
        for origin in ("https://evil.example.com", "https://app.example.com.evil.example", "null"):
            with pytest.raises(Exception, match="HTTP 4"), sockets.connected(url, token, origin=origin):
                pass
            answer = servers.exchange(
                url,
                servers.request_bytes(
                    b"", b"Origin: " + origin.encode(), target=b"/socket.io/?EIO=4&transport=polling", method=b"GET"
                ),
            )
            assert answer.status == 400
            assert "access-control-allow-origin" not in answer.headers


def test_an_origin_that_is_none_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="no origin"):
        Receiver(secrets="s", progress_origins="https://app.example.com/page")


async def scopes_of(request: Any) -> list[dict[str, Any]] | None:
    user = request.headers.get("x-user")
    return [{"task": f"task-{user}"}] if user else None


def test_the_applications_own_sessions(tmp_path: Path) -> None:
    receiver = receiving.receiver_of(tmp_path, registry(), authorize_progress=scopes_of)
    with servers.serving(receiver) as url, sockets.connected(url, headers={"X-User": "1"}) as client:
        post(url, deliveries.task_body("task-2"), deliveries.task_body("task-1"))

        assert client.receive()["task_id"] == "task-1"
        assert client.is_silent()
        with pytest.raises(sockets.Refused, match="a token is missing"), sockets.connected(url):
            pass


def test_an_authorization_that_fails_lets_nobody_in(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: object) -> None:
        raise ValueError("no sessions today")

    with (
        servers.serving(receiving.receiver_of(tmp_path, authorize_progress=fail)) as url,
        pytest.raises(sockets.Refused, match="cannot be found out"),
        sockets.connected(url),
    ):
        pass
    assert "no sessions today" in caplog.text


def test_subscribing_within_what_is_granted(receiver: Receiver, url: str) -> None:
    token = receiver.progress_token(all=True)
    with sockets.connected(url, {"token": token}) as client:
        assert client.ask("unsubscribe", {"all": True}) == {"status": "unsubscribed"}
        post(url, deliveries.task_body("task-1"), deliveries.task_body("task-2"))
        receiving.eventually(lambda: len(sequences_of(url)) == 2)
        assert client.ask("subscribe", {"task": "task-2"}) == {"status": "subscribed"}
        post(url, deliveries.step_body("task-1"), deliveries.step_body("task-2"))
        client.receive_until(2, task="task-2")
    assert {update["task_id"] for update in client.updates} == {"task-2"}

    with sockets.connected(url, {"token": receiver.progress_token(task="task-1")}) as client:
        assert "not among what" in client.ask("subscribe", {"task": "task-2"})["error"]
        assert '{"correlation": {…}} or {"all": true}' in client.ask("subscribe", "everything")["error"]
        assert client.ask("subscribe", {"task": "task-1"}) == {"status": "subscribed"}


def test_a_retry_is_nothing_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "_SETTLED", 0.01)
    attempts: list[int] = []
    failing = Registry()

    @failing.on("task.completed", name="fail", retry=RetryPolicy(attempts=2, first=0.5, cap=0.5))
    async def fail(event: Event, context: Context) -> None:
        attempts.append(context.attempt)
        if context.attempt == 1:
            raise RetryLater(after=0.5)

    with servers.serving(receiving.receiver_of(tmp_path, failing, inspect=True)) as url:
        post(url, deliveries.task_body(status="completed"))
        receiving.eventually(lambda: attempts == [1])
        with sockets.connected(url) as client:
            assert client.receive()["sequence"] == 1
            receiving.eventually(lambda: attempts == [1, 2])
            assert client.is_silent()


def test_tenants_tasks_are_kept_apart(tmp_path: Path) -> None:
    receiver = receiving.receiver_of(
        tmp_path, registry(), secrets=lambda delivery: Tenant(delivery.header("x-tenant"), ["s3"]), signing_key=KEY
    )
    token = {"token": receiver.progress_token(task="task-1", tenant="acme")}
    everybody = {"token": receiver.progress_token(all=True)}
    with (
        servers.serving(receiver) as url,
        sockets.connected(url, token) as client,
        sockets.connected(url, everybody) as auditor,
    ):
        for tenant in (b"other", b"acme"):
            body = deliveries.task_body("task-1", message=tenant.decode())
            signed = servers.signed(body, "s3")
            assert servers.exchange(url, servers.request_bytes(body, signed, b"X-Tenant: " + tenant)).status == 200

        assert client.receive()["message"] == "acme"
        assert client.is_silent()
        assert {auditor.receive()["message"], auditor.receive()["message"]} == {"acme", "other"}


def test_mounted(tmp_path: Path) -> None:
    receiver = receiving.receiver_of(tmp_path, registry(), inspect=True)
    app = Starlette(routes=[Mount("/morag", receiver)], lifespan=receiver.lifespan)
    with servers.serving(app) as url, sockets.connected(url, path="/morag") as client:
        body = deliveries.task_body()
        servers.exchange(url, servers.request_bytes(body, servers.signed(body), target=b"/morag/webhook"))

        assert client.receive()["task_id"] == "task-1"


def test_the_browsers_half_is_served(tmp_path: Path) -> None:
    with servers.serving(receiving.receiver_of(tmp_path)) as url:
        answer = servers.exchange(url, servers.request_bytes(b"", target=b"/socket.io/socket.io.js", method=b"GET"))

    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/javascript")
    assert b"Socket.IO v4" in answer.body[:200]


def test_what_is_too_large_for_a_message_is_left_out(url: str) -> None:
    with sockets.connected(url) as client:
        post(url, deliveries.step_body(data={"text": "x" * 20_000}))
        post(url, deliveries.task_body(status="completed", result={"text": "x" * 20_000}))

        assert client.receive()["data"] is None
        assert client.receive()["result"] is None
