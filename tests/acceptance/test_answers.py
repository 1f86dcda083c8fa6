"""Store, answer, then work: the answer waits for the commit and for nothing else."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import deliveries
import pytest
import receiving
import servers

from morag_client import Event, Registry


def post(url: str, body: bytes) -> servers.Answer:
    return servers.exchange(url, servers.request_bytes(body, servers.signed(body)))


@pytest.mark.parametrize("is_async", [True, False])
def test_the_answer_waits_for_no_handler(tmp_path: Path, is_async: bool) -> None:
    registry, answered, handled = Registry(), threading.Event(), []

    async def later(event: Event) -> None:
        while not answered.is_set():  # it is set in another thread
            await asyncio.sleep(0.005)
        handled.append(event.task_id)

    def plain(event: Event) -> None:
        answered.wait()
        handled.append(event.task_id)

    registry.on("*", name="1")(later if is_async else plain)
    with servers.serving(receiving.receiver_of(tmp_path, registry)) as url:
        for task in ("a", "a", "b"):
            assert post(url, deliveries.step_body(task)).body == b'{"status":"received"}'
        time.sleep(0.05)
        assert handled == []
        answered.set()
        receiving.eventually(lambda: len(handled) == 3)


def test_what_is_answered_is_committed(tmp_path: Path) -> None:
    with servers.serving(receiving.receiver_of(tmp_path)) as url:
        for count in range(1, 20):
            post(url, deliveries.task_body())
            assert receiving.counts(tmp_path) == (count, 0)


def test_the_same_sent_at_once_is_received_once(tmp_path: Path) -> None:
    bodies = [deliveries.task_body(f"task-{number}") for number in range(5)] * 12
    with servers.serving(receiving.receiver_of(tmp_path)) as url, ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda body: post(url, body).body, bodies))

    assert answers.count(b'{"status":"received"}') == 5
    assert answers.count(b'{"status":"duplicate"}') == 55
    assert receiving.counts(tmp_path) == (5, 0)


def test_a_database_that_is_busy_is_503_in_time_and_recovers_by_itself(tmp_path: Path) -> None:
    known, body, odd = deliveries.task_body(), deliveries.task_body(), b"no json"
    with (
        servers.serving(receiving.receiver_of(tmp_path, inspect=True)) as url,
        closing(sqlite3.connect(tmp_path / "inbox.db", isolation_level=None)) as lock,
        ThreadPoolExecutor(3) as pool,
    ):
        assert post(url, known).status == 200
        lock.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        answers = list(pool.map(lambda sent: post(url, sent), (body, odd, known)))
        assert time.monotonic() - began < 3.5
        lock.execute("ROLLBACK")

        assert [answer.status for answer in answers] == [503] * 3
        for answer in answers:
            assert answer.headers["retry-after"] == "1"
            assert answer.json["code"] == "unavailable"
        assert [post(url, sent).status for sent in (body, odd, known)] == [200, 400, 200]
    assert receiving.counts(tmp_path) == (2, 1)


def test_reading_goes_on_while_somebody_writes(tmp_path: Path) -> None:
    with (
        servers.serving(receiving.receiver_of(tmp_path, inspect=True)) as url,
        closing(sqlite3.connect(tmp_path / "inbox.db", isolation_level=None)) as lock,
    ):
        assert post(url, deliveries.task_body()).status == 200
        lock.execute("BEGIN IMMEDIATE")
        lock.execute("UPDATE webhook_events SET hidden = 1")
        for target in (b"/webhooks", b"/api/events", b"/health/ready"):
            answer = servers.exchange(url, servers.request_bytes(b"", method=b"GET", target=target))
            assert answer.status == 200
            assert answer.json
