"""The dashboard's HTTP: closed by default, nothing without the right, nothing without the token of the visit."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import deliveries
import httpx2
import pytest
import receiving
import servers
from starlette.requests import Request

from morag_client import ConfigurationError, Event, Receiver, Registry

PASSWORD = "an old boat"
READS = ["session", "overview", "activity", "steps", "tasks", "events", "dead-letters", "quarantine", "audit"]
ACTS = ["replay", "retry-dead-letters", "discard-dead-letters", "retry-quarantine", "discard-quarantine"]


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


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[str]:
    with servers.serving(receiving.receiver_of(tmp_path, registry(), dashboard_password=PASSWORD)) as url:
        yield url


def client(url: str) -> httpx2.Client:
    return httpx2.Client(base_url=url, timeout=10, trust_env=False)


def log_in(http: httpx2.Client, password: str = PASSWORD, **headers: str) -> httpx2.Response:
    return http.post("/dashboard/api/login", json={"password": password, "name": "anna"}, headers=headers)


def act(http: httpx2.Client, name: str, token: str | None = None, **body: Any) -> httpx2.Response:
    token = http.get("/dashboard/api/session").json()["csrf"] if token is None else token
    return http.post(f"/dashboard/api/actions/{name}", json=body, headers={"x-csrf-token": token})


def post(url: str, body: bytes) -> None:
    assert servers.exchange(url, servers.request_bytes(body, servers.signed(body))).status in {200, 422}


def test_closed_by_default_even_to_this_machine(tmp_path: Path) -> None:
    with servers.serving(receiving.receiver_of(tmp_path)) as url, client(url) as http:
        page = http.get("/dashboard")
        assert page.status_code == 403
        assert "MORAG_DASHBOARD_PASSWORD" in page.text
        assert {http.get(f"/dashboard/api/{path}").status_code for path in READS} == {403}
        assert {http.post(f"/dashboard/api/actions/{name}", json={}).status_code for name in ACTS} == {403}
        assert log_in(http, "").status_code == 422


def test_inspect_opens_it_to_this_machine_and_not_to_what_came_through_a_proxy(inspected: str) -> None:
    with client(inspected) as http:
        assert {http.get(f"/dashboard/api/{path}").status_code for path in READS} == {200}
        through = {"x-forwarded-for": "203.0.113.9"}
        assert {http.get(f"/dashboard/api/{path}", headers=through).status_code for path in READS} == {403}
        assert http.get("/dashboard", headers=through).status_code == 403


def test_the_page_asks_for_nothing_from_elsewhere_and_has_no_script_in_it(inspected: str) -> None:
    with client(inspected) as http:
        for path in ("/dashboard", "/dashboard/", "/dashboard/tasks/00"):
            page = http.get(path)
            policy = page.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert page.headers["x-content-type-options"] == "nosniff"
            assert page.headers["cache-control"] == "no-store"
            assert "{base}" not in page.text
            assert not re.search(r"https?://|<script>|\son\w+=|style=", page.text)
            for address in re.findall(r'(?:src|href)="([^"]+)"', page.text):
                assert http.get(str(httpx2.URL(f"{inspected}{path}").join(address))).status_code == 200
        assert http.get("/dashboard/api/overview").headers["cache-control"] == "no-store"
        assert http.get("/dashboard/static/%2e%2e/views.py").status_code == 404


def test_files_are_packed_and_known_again(inspected: str) -> None:
    with client(inspected) as http:
        first = http.get("/dashboard/static/vendor/uplot/uPlot.esm.js")
        again = http.get(
            "/dashboard/static/vendor/uplot/uPlot.esm.js", headers={"if-none-match": first.headers["etag"]}
        )

        assert (first.headers["content-encoding"], first.headers["content-type"]) == (
            "gzip",
            "text/javascript; charset=utf-8",
        )
        assert (again.status_code, again.content) == (304, b"")


def test_a_password_opens_the_dashboard_and_the_inboxs_own_routes(locked: str) -> None:
    with client(locked) as http:
        assert http.get("/dashboard").status_code == 200  # with the way to log in, and nothing else
        refused = http.get("/dashboard/api/overview")
        assert (refused.status_code, refused.json()["login"]) == (401, True)
        assert http.get("/api/events").status_code == 403
        assert log_in(http, "a new boat").status_code == 401
        assert log_in(http).status_code == 200

        assert {http.get(f"/dashboard/api/{path}").status_code for path in READS} == {200}
        assert http.get("/api/events").status_code == 200
        assert http.post("/webhooks/clear").status_code == 200
        assert http.post("/webhooks/clear", headers={"origin": "https://evil.example"}).status_code == 403

        http.post("/dashboard/api/logout")
        assert http.get("/api/events").status_code == 403


def test_passwords_cannot_be_tried_without_end(locked: str) -> None:
    with client(locked) as http:
        assert [log_in(http, f"boat {number}").status_code for number in range(5)] == [401] * 5

        waits = log_in(http)

        assert waits.status_code == 429
        assert 0 < waits.json()["wait"] <= 60


def test_another_site_cannot_log_somebody_in(locked: str) -> None:
    with client(locked) as http:
        assert log_in(http, origin="https://evil.example").status_code == 403
        assert log_in(http, **{"sec-fetch-site": "cross-site"}).status_code == 403
        assert http.post("/dashboard/api/login", data={"password": PASSWORD}).status_code == 415


def test_nothing_is_done_without_the_token_of_the_visit_or_from_another_site(inspected: str) -> None:
    post(inspected, deliveries.task_body(status="failed"))
    with client(inspected) as http, client(inspected) as other:
        receiving.eventually(lambda: http.get("/api/events").json()["events"][0]["runs"])
        mine = http.get("/dashboard/api/session").json()["csrf"]
        theirs = other.get("/dashboard/api/session").json()["csrf"]

        for name in ACTS:
            assert act(http, name, "", all=True, ids=[1]).status_code == 403
            assert act(http, name, theirs, all=True, ids=[1]).status_code == 403
        http.headers["sec-fetch-site"] = "cross-site"
        assert act(http, "replay", mine, ids=[1]).status_code == 403
        del http.headers["sec-fetch-site"]
        assert http.get("/dashboard/api/audit").json() == {"entries": []}

        assert act(http, "replay", mine, ids=[1]).json()["done"]["replayed"] == 1


def test_who_may_read_sees_everything_and_does_nothing(tmp_path: Path) -> None:
    def authorize(request: Request) -> str | None:
        return request.headers.get("x-role")

    with servers.serving(receiving.receiver_of(tmp_path, registry(), authorize=authorize)) as url, client(url) as http:
        http.headers["x-role"] = "act"
        token = http.get("/dashboard/api/session").json()["csrf"]
        http.headers["x-role"] = "read"  # as when it was taken away meanwhile
        assert {http.get(f"/dashboard/api/{path}").status_code for path in READS} == {200}
        assert http.get("/dashboard/api/session").json()["csrf"] is None
        assert {act(http, name, token, all=True, ids=[1]).status_code for name in ACTS} == {403}
        http.headers["x-role"] = "admin"
        assert http.get("/dashboard").status_code == 403
        http.headers["x-role"] = "act"
        assert act(http, "retry-quarantine", all=True).status_code == 200


def test_every_action_says_who_and_why(locked: str) -> None:
    post(locked, deliveries.task_body(status="failed"))
    post(locked, b'{"event_type": "task_started", "data": {}}')
    with client(locked) as http:
        log_in(http)
        receiving.eventually(lambda: http.get("/dashboard/api/dead-letters").json()["letters"])

        act(http, "retry-dead-letters", ids=[1], why="again")
        receiving.eventually(lambda: http.get("/dashboard/api/dead-letters").json()["letters"])
        act(http, "discard-dead-letters", all=True, handler="notify", why="enough")
        act(http, "replay", ids=[1], handler="notify")
        act(http, "discard-quarantine", ids=[1], why="noise")

        entries = http.get("/dashboard/api/audit").json()["entries"][::-1]
        assert [(one["action"], one["why"]) for one in entries] == [
            ("dead-letters retry", "again"),
            ("dead-letters discard", "enough"),
            ("replay", None),
            ("quarantine discard", "noise"),
        ]
        assert {one["who"] for one in entries} == {"anna (dashboard)"}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("tasks/xyz", 404),
        ("tasks/00", 404),
        ("events/99", 404),
        (f"events/{10**30}", 404),
        ("dead-letters/1", 404),
        ("quarantine/1", 404),
        ("nothing", 404),
        ("tasks?state=odd", 422),
        ("tasks?before=-1", 422),
        ("tasks?limit=1000", 422),
        ("tasks?q=%00", 422),
        ("events?state=odd", 422),
        ("events?name=%ff%00", 422),
        ("activity?range=1y", 422),
    ],
)
def test_what_cannot_be_asked_is_said(inspected: str, path: str, status: int) -> None:
    with client(inspected) as http:
        answer = http.get(f"/dashboard/api/{path}")

        assert answer.status_code == status
        assert answer.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b'{"ids": []}', b'{"ids": ["1"]}', b'{"ids": [0]}', b'{"ids": [1e9]}', b'{"ids": [true]}'],
)
def test_an_action_that_says_not_what_is_meant_changes_nothing(inspected: str, body: bytes) -> None:
    with client(inspected) as http:
        token = http.get("/dashboard/api/session").json()["csrf"]
        headers = {"x-csrf-token": token, "content-type": "application/json"}

        assert http.post("/dashboard/api/actions/replay", content=body, headers=headers).status_code in {400, 422}
        too_much = http.post("/dashboard/api/actions/replay", content=b" " * 70_000, headers=headers)
        assert too_much.status_code == 413


def test_duplicates_are_counted(inspected: str) -> None:
    body = deliveries.task_body()
    for _ in range(3):
        post(inspected, body)

    with client(inspected) as http:
        assert http.get("/dashboard/api/overview").json()["duplicates"] == 2


def test_a_payload_is_shown_without_tokens_and_with_its_artefacts(tmp_path: Path) -> None:
    key = "k" * 40
    receiver = receiving.receiver_of(tmp_path, inspect=True, signing_key=key, public_url="https://app.example.com")
    token = receiver.webhook_url(document=1).rpartition("/")[2]
    data = {
        "markdown_file_url": "/api/files/temp/1/markdown.md",
        "webhook_url": f"https://app.example.com/webhook/{token}",
    }
    with servers.serving(receiver) as url, client(url) as http:
        post(url, deliveries.step_body(data=data))

        shown = http.get("/dashboard/api/events/1").json()

    assert token not in json.dumps(shown)
    assert shown["payload"]["artefacts"] == [{"key": "markdown_file_url", "where": "/api/files/temp/1/markdown.md"}]


def test_a_blank_password_is_none() -> None:
    with pytest.raises(ConfigurationError, match="dashboard_password"):
        Receiver(registry=Registry(), secrets="s", dashboard_password=" ")
