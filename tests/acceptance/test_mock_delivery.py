"""How a mock MoRAG delivers: its senders' patience, tasks side by side, the log, and where it may post."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any

import pytest
from mocking import asked
from recording import Recorder

from morag_client.errors import ConfigurationError
from morag_client.testing import MockMorag
from morag_client.testing.mock.deliveries import LoggedAttempt

DELIVERY = {"task_id", "event", "dialect", "url", "ok", "attempts"}
ATTEMPT = {"attempt", "at", "ok", "status_code", "error", "seconds", "again_in"}


@pytest.fixture(autouse=True)
def _as_released(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WEBHOOK_TIMEOUT", "WEBHOOK_MAX_RETRIES", "WEBHOOK_RETRY_DELAY"):
        monkeypatch.delenv(name, raising=False)


def test_the_log_has_each_attempt() -> None:
    heard: list[LoggedAttempt] = []
    with asked(retry_delay=0.01, on_attempt=heard.append) as morag, Recorder(500, 500, 200) as recorder:
        task_id = morag.ingest(webhook_url=recorder.url)
        log = morag.get("/_mock/deliveries").json()

    assert (log.keys(), log["count"]) == ({"deliveries", "count"}, 14)
    first, *others = log["deliveries"]
    assert first.keys() == DELIVERY
    assert (first["task_id"], first["event"], first["dialect"]) == (task_id, "task.started", "envelope")
    assert (first["url"], first["ok"]) == (recorder.url, True)
    assert all(attempt.keys() == ATTEMPT for attempt in first["attempts"])
    assert [one["status_code"] for one in first["attempts"]] == [500, 500, 200]
    assert [one["attempt"] for one in first["attempts"]] == [1, 2, 3]
    assert [one["ok"] for one in first["attempts"]] == [False, False, True]
    assert [one["again_in"] for one in first["attempts"]] == [0.01, 0.02, None]
    assert all(one["seconds"] > 0 for one in first["attempts"])
    assert all(len(one["attempts"]) == 1 and one["ok"] for one in others)
    assert len(heard) == 16 == len(recorder.arrivals)
    assert len({arrival.body for arrival in recorder.arrivals[:3]}) == 1


def test_a_delivery_that_is_still_tried_is_neither_good_nor_bad() -> None:
    with asked(retry_delay=30) as morag, Recorder(503) as recorder:
        morag.upload("/api/v1/ingest/file", webhook_url=recorder.url)
        while not (log := morag.get("/_mock/deliveries").json())["count"]:
            time.sleep(0.01)
        mock = morag.mock

    assert log["deliveries"][0]["ok"] is None
    assert log["deliveries"][0]["attempts"][0]["again_in"] == 30
    given_up = mock.log.as_json()["deliveries"]
    assert [(one["ok"], len(one["attempts"])) for one in given_up] == [(False, 1)]


@pytest.mark.parametrize(
    ("profile", "attempts"),
    [("guide", 4), ("r1", 3)],
)
def test_how_often_the_service_tries(profile: Any, attempts: int) -> None:
    with asked(profile=profile, retry_delay=0.001) as morag, Recorder(500) as recorder:
        morag.ingest(name="a.xyz", webhook_url=recorder.url)

    counted = Counter(arrival.body for arrival in recorder.arrivals)
    assert set(counted.values()) == {attempts}


def test_the_variables_of_the_service_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOK_MAX_RETRIES", "1")
    monkeypatch.setenv("WEBHOOK_RETRY_DELAY", "0.001")
    with asked() as morag, Recorder(500) as recorder:
        morag.ingest(name="a.xyz", webhook_url=recorder.url)

    assert set(Counter(arrival.body for arrival in recorder.arrivals).values()) == {2}
    monkeypatch.setenv("WEBHOOK_MAX_RETRIES", "many")
    with pytest.raises(ConfigurationError, match="WEBHOOK_MAX_RETRIES"):
        MockMorag()


def test_r2_tries_steps_four_times_and_the_end_once() -> None:
    with asked(profile="r2", retry_delay=0.001) as morag, Recorder(500) as recorder:
        morag.ingest(name="a.xyz", request_data={"webhook_url": recorder.url})

    *steps, end = Counter(arrival.body for arrival in recorder.arrivals).values()
    assert (steps, end) == ([4, 4], 1)


@pytest.mark.parametrize(
    ("profile", "status", "is_success"),
    [
        ("guide", 204, True),
        ("guide", 302, False),
        ("r1", 302, True),
        ("r1", 400, False),
        ("r2", 202, True),
        ("r2", 204, False),
    ],
)
def test_what_a_sender_takes_for_success(profile: Any, status: int, is_success: bool) -> None:
    with asked(profile=profile, max_retries=0) as morag, Recorder(status, answer=b"") as recorder:
        fields = {"webhook_url": recorder.url}
        morag.ingest(name="a.xyz", **({"request_data": fields} if profile == "r2" else fields))
        logged = morag.get("/_mock/deliveries").json()["deliveries"]

    assert logged[0]["ok"] is is_success


def test_r2s_end_is_only_accepted_by_200() -> None:
    with asked(profile="r2", max_retries=0) as morag, Recorder(202) as recorder:
        morag.ingest(request_data={"webhook_url": recorder.url})
        *steps, end = morag.get("/_mock/deliveries").json()["deliveries"]

    assert {step["ok"] for step in steps} == {True}
    assert (end["dialect"], end["ok"]) == ("ingest_result", False)


def test_a_receiver_that_is_too_slow_is_given_up() -> None:
    with asked(timeout_seconds=0.05, max_retries=0) as morag, Recorder(delay=0.3) as recorder:
        morag.ingest(name="a.xyz", webhook_url=recorder.url)
        logged = morag.get("/_mock/deliveries").json()["deliveries"]

    assert [one["ok"] for one in logged] == [False] * 4
    assert all(one["attempts"][0]["status_code"] is None and one["attempts"][0]["error"] for one in logged)


def test_twenty_tasks_at_once() -> None:
    with asked(speed=0.1) as morag, Recorder(delay=0.01) as recorder:
        tasks: list[str] = []

        def submit() -> None:
            answer = morag.upload("/api/v1/ingest/file", webhook_url=recorder.url)
            tasks.append(answer.json()["task_id"])

        threads = [threading.Thread(target=submit) for _ in range(20)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for task_id in tasks:
            morag.wait(task_id)
        took = time.monotonic() - began
        log = morag.get("/_mock/deliveries").json()

    order: dict[str, list[str]] = {}
    for delivery in log["deliveries"]:
        order.setdefault(delivery["task_id"], []).append(delivery["event"])
    assert len(recorder.arrivals) == log["count"] == 20 * 14
    assert set(order) == set(tasks)
    assert len({tuple(events) for events in order.values()}) == 1
    # One after the other they would take twenty times 0.4 seconds.
    assert took < 5


def test_it_posts_to_allowed_hosts_only() -> None:
    with Recorder() as recorder:
        here = recorder.url.split("/")[2]
        with asked(allowed_hosts=[here]) as morag:
            allowed = morag.upload("/api/v1/ingest/file", webhook_url=recorder.url)
            morag.wait(allowed.json()["task_id"])
            port = here.split(":")[1]
            refused = [
                morag.upload("/api/v1/ingest/file", webhook_url=url)
                for url in (
                    "http://127.0.0.1:9/webhook",
                    f"http://localhost:{port}/webhook",
                    f"http://{here}@example.com/webhook",
                    f"https://{here.split(':')[0]}/webhook",
                    "http://example.com/webhook",
                )
            ]
            config = {"mode": "ingest", "webhook_config": {"url": "http://example.com/"}}
            refused += [
                morag.upload("/api/v1/process", request_data=config),
                morag.post("/api/v1/ingest/url", json={"url": recorder.url, "webhook_url": "http://example.com/"}),
                morag.post(
                    "/api/v1/ingest/batch",
                    json={"items": [{"url": recorder.url}], "webhook_url": "http://example.com/"},
                ),
            ]

    assert allowed.status_code == 200
    assert len(recorder.arrivals) == 14
    assert [answer.status_code for answer in refused] == [400] * len(refused)
    assert all("not allowed" in answer.json()["detail"] for answer in refused)


def test_with_allowed_hosts_documents_come_from_these_only() -> None:
    with Recorder(answer=b"The Moon pulls the sea.") as page, asked(allowed_hosts=["example.com"]) as morag:
        task_id = morag.wait(morag.post("/api/v1/ingest/url", json={"url": f"{page.url}.txt"}).json()["task_id"])
        status = morag.get(f"/api/v1/status/{task_id}").json()

    assert status["status"] == "failure"
    assert not page.arrivals


@pytest.mark.parametrize("host", ["", "a b", "http://example.com", "example.com/x", "user@example.com", "x:99999", "*"])
def test_hosts_that_are_none(host: str) -> None:
    with pytest.raises(ConfigurationError, match="is no host"):
        MockMorag(allowed_hosts=[host])


def test_a_token_of_the_submission_comes_before_the_servers() -> None:
    with asked(bearer_token="of-the-server") as morag, Recorder() as recorder:
        morag.ingest(name="a.xyz", webhook_url=recorder.url)
        config = {"mode": "ingest", "webhook_config": {"url": recorder.url, "auth_token": "of-the-task"}}
        answer = morag.upload("/api/v1/process", name="a.xyz", request_data=config)
        morag.wait(answer.json()["task_id"])

    said = [arrival.headers["authorization"] for arrival in recorder.arrivals]
    assert said == ["Bearer of-the-server"] * 4 + ["Bearer of-the-task"] * 4
