"""The inbox's own routes: closed, unless the application or a developer at this very machine opens them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import deliveries
import pytest
import receiving
import servers
from starlette.requests import Request
from starlette.testclient import TestClient

from morag_client import ConfigurationError, Event, Receiver, Registry

READING = [("GET", "/webhooks"), ("GET", "/api/events")]
ACTING = [("DELETE", "/webhooks"), ("POST", "/webhooks/clear")]


def registry() -> Registry:
    registry = Registry()

    @registry.on("task.failed", name="notify")
    def notify(event: Event) -> None:
        raise ValueError("nobody is there")

    return registry


@pytest.fixture
def inspected(tmp_path: Path) -> Iterator[str]:
    with servers.serving(receiving.receiver_of(tmp_path, registry(), inspect=True)) as url:
        yield url


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One that receives nothing, to ask whether it is open."""
    with servers.serving(receiving.receiver_of(tmp_path_factory.mktemp("still"), inspect=True)) as url:
        yield url


def post(url: str, body: bytes, *lines: bytes) -> None:
    assert servers.exchange(url, servers.request_bytes(body, servers.signed(body), *lines)).status == 200


def ask(url: str, target: str, *lines: bytes, method: str = "GET", host: bytes = b"127.0.0.1") -> servers.Answer:
    head = [f"{method} {target} HTTP/1.1".encode(), b"Host: " + host, b"Content-Length: 0", *lines, b"", b""]
    return servers.exchange(url, b"\r\n".join(head))


@pytest.mark.parametrize(("method", "target"), READING + ACTING)
def test_closed_by_default_even_to_this_machine(tmp_path: Path, method: str, target: str) -> None:
    with servers.serving(receiving.receiver_of(tmp_path)) as url:
        post(url, deliveries.task_body())

        answer = ask(url, target, method=method)

        assert answer.status == 403
        assert "inspect=True" in answer.json["detail"]
        assert "authorize=" in answer.json["detail"]
        assert receiving.query(tmp_path, "SELECT hidden FROM webhook_events") == [(0,)]


def test_health_is_open(tmp_path: Path) -> None:
    with servers.serving(receiving.receiver_of(tmp_path)) as url:
        assert ask(url, "/health/live").json == {"status": "live"}
        assert ask(url, "/health/ready").json == {"status": "ready"}


def test_what_was_received_in_the_guides_form(inspected: str) -> None:
    sent = [deliveries.task_body(f"task-{number}") for number in range(3)]
    for body in sent:
        post(inspected, body, b"User-Agent: MoRAG-Webhook/1.0", b"Authorization: Bearer s3cret", b"Cookie: s3cret")
    post(inspected, sent[0])

    listed = ask(inspected, "/webhooks")

    assert listed.status == 200
    assert [item["payload"] for item in listed.json] == [json.loads(body) for body in sent]
    for item in listed.json:
        assert item.keys() == {"payload", "received_at", "headers"}
        assert item["headers"] == {"content-type": "application/json", "user-agent": "MoRAG-Webhook/1.0"}
        assert item["received_at"].endswith("Z")
    assert [item["payload"] for item in ask(inspected, "/webhooks?limit=1").json] == [json.loads(sent[2])]


@pytest.mark.parametrize(("method", "target"), ACTING)
def test_clearing_hides_and_deletes_nothing(inspected: str, method: str, target: str, tmp_path: Path) -> None:
    post(inspected, deliveries.task_body("task-1"))

    answer = ask(inspected, target, method=method)
    assert (answer.status, answer.json) == (200, {"status": "cleared"})
    assert ask(inspected, "/webhooks").json == []
    post(inspected, deliveries.task_body("task-2"))

    assert [item["payload"]["data"]["task_id"] for item in ask(inspected, "/webhooks").json] == ["task-2"]
    assert len(ask(inspected, "/api/events").json["events"]) == 2
    assert receiving.counts(tmp_path) == (2, 0)


def test_events_with_what_became_of_them(inspected: str) -> None:
    post(inspected, deliveries.task_body("task-1", "failed"))
    post(inspected, deliveries.step_body("task-1", "chunking", "completed"))

    def settled() -> Any:
        events = ask(inspected, "/api/events").json["events"]
        return events if all(event["state"] != "stored" for event in events) else None

    newest, oldest = receiving.eventually(settled)
    assert (newest["name"], newest["state"], newest["runs"]) == ("chunking.completed", "handled", [])
    assert (oldest["name"], oldest["task_id"], oldest["state"]) == ("task.failed", "task-1", "failed")
    assert [(run["handler"], run["state"], run["attempts"], run["error"]) for run in oldest["runs"]] == [
        ("notify", "failed", 1, "ValueError: nobody is there")
    ]
    assert not {"body", "headers", "query", "identity"} & newest.keys()
    assert "traceback" not in oldest["runs"][0]
    assert [event["id"] for event in ask(inspected, "/api/events?state=failed").json["events"]] == [oldest["id"]]
    assert ask(inspected, "/api/events?state=retrying").json["events"] == []
    assert ask(inspected, "/api/events?state=lost").status == 422


@pytest.mark.parametrize(("limit", "count"), [("1", 1), ("2", 2), ("1000", 3)])
@pytest.mark.parametrize("path", ["/webhooks", "/api/events"])
def test_a_limit_is_kept(inspected: str, path: str, limit: str, count: int) -> None:
    for _ in range(3):
        post(inspected, deliveries.unknown_body())

    listed = ask(inspected, f"{path}?limit={limit}").json
    assert len(listed if path == "/webhooks" else listed["events"]) == count


@pytest.mark.parametrize("limit", ["0", "-1", "x", "9" * 50, "%C2%B2", "1001"])
@pytest.mark.parametrize("path", ["/webhooks", "/api/events"])
def test_a_limit_that_is_none_is_422(inspected: str, path: str, limit: str) -> None:
    answer = ask(inspected, f"{path}?limit={limit}")

    assert (answer.status, answer.json) == (422, {"detail": "limit is no number from 1 to 1000"})


# Who is at this machine -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", [b"127.0.0.1", b"127.0.0.1:8001", b"localhost", b"localhost:1", b"[::1]:80", b"a.localhost"]
)
@pytest.mark.parametrize("origin", [None, b"http://localhost:3000", b"http://127.0.0.1", b"https://[::1]"])
def test_inspect_opens_to_developers_at_this_machine(still: str, host: bytes, origin: bytes | None) -> None:
    lines = [] if origin is None else [b"Origin: " + origin]

    assert {ask(still, target, *lines, host=host).status for _, target in READING} == {200}


@pytest.mark.parametrize(
    "line",
    [
        b"X-Forwarded-For: 127.0.0.1",
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-Host: localhost",
        b"x-forwarded-anything:",
        b"Forwarded: for=127.0.0.1",
        b"Via: 1.1 proxy",
        b"X-Real-IP: 127.0.0.1",
        b"CF-Connecting-IP: 127.0.0.1",
        b"True-Client-IP: 127.0.0.1",
        b"Origin: http://evil.example",
        b"Origin: https://localhost.evil.example",
        b"Origin: null",
        b"Origin: http://[",
        b"Origin:",
        b"Origin: http://localhost\r\nOrigin: http://evil.example",
        b"X-Original-Forwarded-For: 127.0.0.1",
        b"X_Forwarded_For: 127.0.0.1",
        b"X-Cluster-Client-IP: 127.0.0.1",
        b"Sec-Fetch-Site: cross-site",
    ],
)
def test_a_proxy_or_a_foreign_page_closes(still: str, line: bytes) -> None:
    for method, target in READING + ACTING:
        answer = ask(still, target, line, method=method)
        assert answer.status == 403
        assert "this machine itself" in answer.json["detail"]


@pytest.mark.parametrize(
    "host",
    [
        b"evil.example",
        b"127.0.0.1.evil.example",
        b"localhost.evil.example",
        b"10.0.0.1",
        b"[",
        b"0.0.0.0",
        b"",
        b"2130706433",
        b"evil.example@localhost",
        b"localhost/evil.example",
    ],
)
def test_a_foreign_host_closes(still: str, host: bytes) -> None:
    assert ask(still, "/webhooks", host=host).status in {403, 400}


def test_a_host_that_is_missing_or_said_twice_closes(still: str) -> None:
    twice = ask(still, "/webhooks", b"Host: evil.example")
    missing = servers.exchange(still, b"GET /webhooks HTTP/1.0\r\n\r\n")

    assert twice.status in {403, 400}  # h11 takes that for no request at all
    assert missing.status == 403


@pytest.mark.parametrize(
    ("peer", "status"),
    [
        ("127.0.0.1", 200),
        ("127.9.9.9", 200),
        ("::1", 200),
        ("::ffff:127.0.0.1", 200),
        ("203.0.113.5", 403),
        ("10.0.0.1", 403),
        ("::ffff:203.0.113.5", 403),
        ("testclient", 403),
        ("", 403),
    ],
)
def test_only_peers_of_this_machine(tmp_path: Path, peer: str, status: int) -> None:
    receiver = receiving.receiver_of(tmp_path, inspect=True)
    with TestClient(receiver, client=(peer, 50000), base_url="http://localhost") as client:
        for method, target in READING + ACTING:
            assert client.request(method, target).status_code == status


# The application's own way --------------------------------------------------------------------------------------------


def by_header(request: Request) -> Any:
    return {"read": "read", "act": "act", "list": ["act"], "yes": True}.get(request.headers.get("x-role", ""))


async def by_header_later(request: Request) -> Any:
    await asyncio.sleep(0)
    return by_header(request)


class ByHeader:
    async def __call__(self, request: Request) -> Any:
        return by_header(request)


@pytest.mark.parametrize("authorize", [by_header, by_header_later, ByHeader()], ids=["plain", "async", "object"])
def test_the_application_says_who_reads_and_who_acts(tmp_path: Path, authorize: Any) -> None:
    with servers.serving(receiving.receiver_of(tmp_path, authorize=authorize)) as url:
        for role, reads, acts in (
            *(("act", 200, 200), ("read", 200, 403)),
            *((role, 403, 403) for role in ("", "list", "yes", "write")),
        ):
            lines = [f"X-Role: {role}".encode(), b"X-Forwarded-For: 203.0.113.5"]
            assert [ask(url, target, *lines, method=method).status for method, target in READING] == [reads] * 2, role
            assert [ask(url, target, *lines, method=method).status for method, target in ACTING] == [acts] * 2, role


def test_inspect_beside_authorize_still_opens_to_this_machine(tmp_path: Path) -> None:
    with servers.serving(receiving.receiver_of(tmp_path, authorize=lambda _: None, inspect=True)) as url:
        assert ask(url, "/webhooks").status == 200
        assert ask(url, "/webhooks", b"X-Forwarded-For: 127.0.0.1").status == 403


def test_a_route_that_is_not_there(still: str) -> None:
    assert ask(still, "/api/nothing").status == 404
    assert ask(still, "/webhooks", method="PUT").status == 405


def test_inspect_comes_from_the_environment_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MORAG_INSPECT", "true")
    assert receiving.receiver_of(tmp_path).settings.inspect
    assert not Receiver(
        registry=Registry(), secrets="x", database_url=receiving.url_of(tmp_path), inspect=False
    ).settings.inspect


def test_an_authorize_that_fails_opens_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def broken(request: Request) -> Any:
        raise KeyError("session")

    with servers.serving(receiving.receiver_of(tmp_path, authorize=broken, inspect=True)) as url:
        for method, target in READING + ACTING:
            assert ask(url, target, method=method).status == 503
    assert "authorize failed" in caplog.text


def test_authorize_is_a_function(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="authorize= takes a function"):
        receiving.receiver_of(tmp_path, authorize=True)


def test_large_bodies_are_listed_within_a_bound(inspected: str) -> None:
    for number in range(20):
        post(inspected, json.dumps({"number": number, "text": "x" * 1_000_000}).encode())

    listed = ask(inspected, "/webhooks").json
    assert [item["payload"]["number"] for item in listed] == list(range(4, 20))


@pytest.mark.parametrize("line", [b"Sec-Fetch-Site: cross-site", b"Origin: https://evil.example"])
@pytest.mark.parametrize(("method", "target"), ACTING)
def test_a_page_of_another_site_does_not_act_by_the_session_that_a_browser_sends_along(
    tmp_path: Path, method: str, target: str, line: bytes
) -> None:
    with servers.serving(receiving.receiver_of(tmp_path, authorize=lambda _: "act")) as url:
        post(url, deliveries.task_body())

        assert ask(url, target, line, method=method).status == 403
        assert len(ask(url, "/webhooks", line).json) == 1
        assert ask(url, target, method=method).status == 200


@pytest.mark.parametrize(("method", "target"), ACTING)
def test_who_may_look_only_is_told_so(tmp_path: Path, method: str, target: str) -> None:
    with servers.serving(receiving.receiver_of(tmp_path, authorize=lambda _: "read")) as url:
        answer = ask(url, target, method=method)

    assert (answer.status, answer.json) == (403, {"detail": "you may look, and not act"})
