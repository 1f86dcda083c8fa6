"""Every fault over a real socket against a real receiver: what it does there is seen in the inbox."""

from __future__ import annotations

import contextlib
import logging
import random
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import deliveries
import pytest
import receiving
from recording import Recorder
from servers import serving

from morag_client import Event, Registry
from morag_client.errors import ConfigurationError
from morag_client.testing import DeliveryResult, Emitter, FaultPlan, ThreadedServer, faults
from morag_client.testing.faults.courses import twin_of

TASK = "task-1"
CHUNKED = "chunking.completed"
DOCUMENT = Path(__file__).parents[2] / "README.md"
Log = pytest.LogCaptureFixture


class Place:
    """A receiver at work with a handler for everything, and what its log says of each delivery."""

    def __init__(self, folder: Path, url: str, log: Log) -> None:
        self.folder, self.url, self._log = folder, url, log

    def emit(self, *chosen: Any, seed: int = 0, retries: int = 1, **settings: Any) -> list[DeliveryResult]:
        given = {"secret": deliveries.SECRET, "retry_delay": 0.02, "max_retries": retries, **settings}
        with Emitter(webhook_url=self.url, **given) as emitter:
            return emitter.run_pipeline(task_id=TASK, faults=FaultPlan(*chosen, seed=seed))

    def names(self) -> list[str]:
        return [name for (name,) in receiving.query(self.folder, "SELECT name FROM webhook_events ORDER BY id")]

    def handled(self, count: int) -> None:
        """Waits until so many records are handled."""
        counting = "SELECT count(*) FROM webhook_events WHERE state = 'handled'"
        receiving.eventually(lambda: receiving.query(self.folder, counting) == [(count,)])

    def said(self, word: str) -> list[str]:
        """What it logged that has this word in it."""
        logged = (r.getMessage() for r in self._log.records if r.name == "morag_client.receiver")
        return [message for message in logged if word in message]

    def troubles(self) -> list[str]:
        return [record.getMessage() for record in self._log.records if record.levelno >= logging.ERROR]


@pytest.fixture
def place(tmp_path: Path, caplog: Log) -> Iterator[Place]:
    registry = Registry()

    @registry.on("*")
    async def look(event: Event) -> None:
        pass

    caplog.set_level(logging.INFO, logger="morag_client.receiver")
    with ThreadedServer(receiving.receiver_of(tmp_path, registry)) as server:
        yield Place(tmp_path, f"{server.url}/webhook", caplog)


def only(results: list[DeliveryResult], event: str = CHUNKED) -> DeliveryResult:
    (found,) = [result for result in results if result.event == event]
    return found


@pytest.mark.parametrize("concurrently", [False, True])
def test_duplicates_are_one_record(place: Place, concurrently: bool) -> None:
    results = place.emit(faults.duplicate(times=5, concurrently=concurrently, events=CHUNKED))

    assert len(results) == 18
    assert all(result.ok for result in results)
    assert receiving.counts(place.folder) == (14, 0)
    assert len(place.said("duplicate")) == 4


def test_concurrent_duplicates_really_are_under_way_together() -> None:
    with Recorder(delay=0.2) as recorder, Emitter(webhook_url=recorder.url, dialect="ingest_result") as emitter:
        emitter.run_pipeline(faults=FaultPlan(faults.duplicate(times=4, concurrently=True)))

    at = [arrival.at for arrival in recorder.arrivals]
    assert len(at) == 4
    assert max(at) - min(at) < 0.2


def test_what_is_dropped_is_missing(place: Place) -> None:
    results = place.emit(faults.drop(events=CHUNKED))

    assert len(results) == 13
    assert CHUNKED not in place.names()
    assert receiving.counts(place.folder) == (13, 0)


def test_what_is_reordered_is_late(place: Place) -> None:
    results = place.emit(faults.reorder(window=6), seed=1)
    place.handled(14)

    assert place.names() == [result.event for result in results]
    late = receiving.query(place.folder, "SELECT name FROM webhook_events WHERE is_late")
    assert late
    assert receiving.query(place.folder, "SELECT state FROM webhook_tasks") == [("completed",)]


def test_a_delay_holds_up_what_is_behind_it() -> None:
    with Recorder() as recorder, Emitter(webhook_url=recorder.url, dialect="envelope") as emitter:
        began = time.monotonic()
        emitter.run_pipeline(faults=FaultPlan(faults.delay(seconds=0.2, events="task.completed")))

    at = [arrival.at for arrival in recorder.arrivals]
    assert at[0] - began < 0.2 <= at[1] - at[0]


def test_what_is_delayed_may_be_overtaken(place: Place) -> None:
    results = place.emit(faults.delay(seconds=0.3, overtaken=True, events="chunking.started"))
    place.handled(14)

    assert place.names()[-1] == "chunking.started"
    assert [result.event for result in results].index("chunking.started") == 7  # as sent
    assert receiving.query(place.folder, "SELECT name FROM webhook_events WHERE is_late") == [("chunking.started",)]


def test_interleaved_tasks_are_two_tasks_with_all_their_events(place: Place) -> None:
    place.emit(faults.interleave())
    place.handled(28)

    tasks = [task for (task,) in receiving.query(place.folder, "SELECT task_id FROM webhook_events ORDER BY id")]
    assert tasks == [TASK, twin_of(TASK)] * 14
    states = receiving.query(place.folder, "SELECT state, count(*) FROM webhook_tasks GROUP BY state")
    assert states == [("completed", 2)]


def test_after_a_restart_the_events_come_again_as_others(place: Place) -> None:
    place.emit(faults.restart(after=CHUNKED))
    place.handled(23)

    assert Counter(place.names())[CHUNKED] == 2
    assert place.said("duplicate") == []
    assert receiving.query(place.folder, "SELECT task_id, state FROM webhook_tasks") == [(TASK, "completed")]


@pytest.mark.parametrize(
    ("fault", "says"),
    [(faults.wrong_signature(events=CHUNKED), "does not match"), (faults.missing_signature(events=CHUNKED), "missing")],
)
def test_what_is_not_signed_right_is_refused_at_each_attempt(place: Place, fault: Any, says: str) -> None:
    result = only(place.emit(fault))

    assert (result.ok, result.status_code, result.attempts) == (False, 401, 2)
    assert receiving.counts(place.folder) == (13, 0)
    assert len(place.said(says)) == 2


def test_a_slow_body_arrives_whole(place: Place) -> None:
    result = only(place.emit(faults.slow_body(seconds=0.6, events=CHUNKED), retries=0))

    assert result.ok
    assert result.seconds >= 0.6
    assert receiving.counts(place.folder) == (14, 0)


def test_a_body_that_is_too_slow_is_given_up_by_the_receiver(tmp_path: Path) -> None:
    with (
        ThreadedServer(receiving.receiver_of(tmp_path, body_timeout=0.3)) as server,
        Emitter(webhook_url=f"{server.url}/webhook", secret=deliveries.SECRET, max_retries=0) as emitter,
    ):
        result = only(emitter.run_pipeline(faults=FaultPlan(faults.slow_body(seconds=5, events=CHUNKED))))

    assert (result.ok, result.status_code) == (False, 408)
    assert result.seconds < 4
    assert receiving.counts(tmp_path) == (13, 0)


def test_what_is_corrupted_on_its_way_is_refused_and_comes_with_the_next_attempt(place: Place) -> None:
    result = only(place.emit(faults.corrupt(events=CHUNKED)))

    assert (result.ok, result.attempts) == (True, 2)
    assert len(place.said("401")) == 1
    assert receiving.counts(place.folder) == (14, 0)


def test_what_is_corrupted_at_each_attempt_never_comes(place: Place) -> None:
    result = only(place.emit(faults.corrupt(events=CHUNKED, attempts=2)))

    assert (result.status_code, result.attempts) == (401, 2)
    assert receiving.counts(place.folder) == (13, 0)


@pytest.mark.parametrize("fault", [faults.corrupt, faults.truncate])
def test_what_was_broken_before_it_was_signed_is_quarantined(place: Place, fault: Any) -> None:
    result = only(place.emit(fault(events=CHUNKED, resigned=True)))

    assert (result.status_code, result.attempts) == (400, 2)
    assert receiving.counts(place.folder) == (13, 1)


def test_a_body_that_ends_too_early_is_nothing_and_no_error(place: Place) -> None:
    result = only(place.emit(faults.truncate(events=CHUNKED, attempts=2)))

    assert (result.ok, result.status_code) == (False, None)
    assert "the connection ended after" in str(result.error)
    assert receiving.counts(place.folder) == (13, 0)
    assert len(receiving.eventually(lambda: place.said("hung up") if len(place.said("hung up")) > 1 else None)) == 2
    assert place.troubles() == []


def test_a_body_that_lost_its_end_is_refused(place: Place) -> None:
    result = only(place.emit(faults.truncate(events=CHUNKED, shortened=True)))

    assert (result.ok, result.attempts) == (True, 2)
    assert len(place.said("401")) == 1
    assert receiving.counts(place.folder) == (14, 0)


def test_an_answer_that_is_lost_makes_one_record_and_a_duplicate(place: Place) -> None:
    result = only(place.emit(faults.reset(events=CHUNKED)))

    assert (result.ok, result.attempts) == (True, 2)
    assert '"duplicate"' in result.text
    assert receiving.counts(place.folder) == (14, 0)
    assert place.troubles() == []


def test_a_reset_right_after_the_request_makes_one_record_whatever_came_of_the_first(place: Place) -> None:
    results = place.emit(faults.reset(early=True))

    assert [(result.ok, result.attempts) for result in results] == [(True, 2)] * 14
    assert receiving.counts(place.folder) == (14, 0)
    assert place.troubles() == []


def test_a_reset_is_one_on_the_wire() -> None:
    """Seen from the other end: reading gives ECONNRESET, not the end of a stream."""
    seen: list[str] = []

    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                try:
                    seen.append(repr(connection.recv(1)))
                except ConnectionResetError:
                    seen.append("reset")

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/webhook"
        with Emitter(webhook_url=url, dialect="ingest_result", max_retries=0) as emitter:
            (result,) = emitter.run_pipeline(faults=FaultPlan(faults.reset()))
        thread.join(5)

    assert seen == ["reset"]
    assert result.error == "the connection was reset"


def test_many_faults_at_once_lose_nothing_that_was_not_dropped(place: Place) -> None:
    chosen = (
        faults.reorder(window=5),
        faults.duplicate(share=0.5, concurrently=True),
        faults.corrupt(share=0.3),
        faults.truncate(share=0.3),
        faults.reset(share=0.3),
        faults.slow_body(share=0.2, seconds=0.1),
        faults.delay(share=0.3, seconds=0.02, overtaken=True),
    )
    results = place.emit(*chosen, seed=11, retries=3)
    place.handled(14)

    assert all(result.ok for result in results)
    assert sum(result.attempts for result in results) > len(results)
    assert receiving.counts(place.folder) == (14, 0)
    assert receiving.query(place.folder, "SELECT state FROM webhook_tasks") == [("completed",)]
    assert place.troubles() == []


POOL = (
    faults.duplicate(share=0.5),
    faults.duplicate(times=3, share=0.3, concurrently=True),
    faults.drop(share=0.1),
    faults.delay(seconds=0.02, share=0.3, overtaken=True),
    faults.reorder(window=5),
    faults.interleave(),
    faults.restart(after="chunking.started"),
    faults.wrong_signature(share=0.1),
    faults.missing_signature(share=0.1),
    faults.slow_body(seconds=0.05, share=0.2),
    faults.corrupt(share=0.2),
    faults.corrupt(share=0.1, resigned=True),
    faults.truncate(share=0.2),
    faults.truncate(share=0.2, shortened=True, attempts=2),
    faults.truncate(share=0.1, resigned=True),
    faults.reset(share=0.3),
    faults.reset(share=0.3, early=True),
)


@pytest.mark.parametrize("seed", range(10))
def test_whatever_goes_wrong_what_was_accepted_is_stored_once_and_nothing_else_is(place: Place, seed: int) -> None:
    plan = FaultPlan(*random.Random(seed).sample(POOL, 6), seed=seed)  # noqa: S311  # no secret is made
    with Emitter(webhook_url=place.url, secret=deliveries.SECRET, max_retries=2, retry_delay=0.01) as emitter:
        results = emitter.run_pipeline(faults=plan)

    stored = Counter(bytes(body) for (body,) in receiving.query(place.folder, "SELECT body FROM webhook_events"))
    sent = {result.message.body for result in results}
    assert set(stored.values()) == {1}, plan
    assert {result.message.body for result in results if result.ok} <= set(stored) <= sent, plan
    assert {result.status_code for result in results} <= {200, 400, 401, None}, plan
    place.handled(len(stored))
    assert place.troubles() == [], plan


def test_a_seed_gives_the_same_deliveries_again() -> None:
    def course(seed: int) -> list[tuple[str, int, int | None]]:
        with Recorder() as recorder, Emitter(webhook_url=recorder.url, max_retries=1, retry_delay=0.0) as emitter:
            chosen = (faults.drop(share=0.3), faults.reorder(), faults.truncate(share=0.3, attempts=2))
            results = emitter.run_pipeline(faults=FaultPlan(*chosen, seed=seed))
        return [(result.event, result.attempts, result.status_code) for result in results]

    assert course(5) == course(5) != course(6)


def test_faults_that_would_strike_nothing_are_said_before_anything_is_sent() -> None:
    with (
        Recorder() as recorder,
        Emitter(webhook_url=recorder.url) as emitter,
        pytest.raises(ConfigurationError, match="give a secret"),
    ):
        emitter.run_pipeline(faults=FaultPlan(faults.wrong_signature()))

    assert recorder.arrivals == []


def test_closing_ends_what_waits_for_its_time() -> None:
    with Recorder() as recorder:
        emitter = Emitter(webhook_url=recorder.url)
        plan = FaultPlan(faults.delay(seconds=60, events="markdown_conversion.started"))
        results: list[DeliveryResult] = []
        thread = threading.Thread(target=lambda: results.extend(emitter.run_pipeline(faults=plan)))
        thread.start()
        receiving.eventually(lambda: recorder.arrivals)
        emitter.close()
        thread.join(5)

    assert not thread.is_alive()
    assert [result.ok for result in results[:2]] == [True, False]


def test_each_delivery_is_heard_of_in_the_calling_thread() -> None:
    heard: list[tuple[str, str]] = []

    def tell(result: DeliveryResult) -> None:
        heard.append((result.event, threading.current_thread().name))

    with Recorder() as recorder, Emitter(webhook_url=recorder.url, on_delivery=tell) as emitter:
        emitter.run_pipeline(faults=FaultPlan(faults.duplicate(times=2, concurrently=True)))

    assert len(heard) == 28
    assert {thread for _, thread in heard} == {threading.current_thread().name}


async def test_it_may_be_called_in_an_event_loop() -> None:
    with Recorder() as recorder, Emitter(webhook_url=recorder.url) as emitter:
        assert len(emitter.run_pipeline(faults=FaultPlan(faults.duplicate()))) == 28


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl to make a certificate")
def test_faults_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    made = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost")
    named = ("-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate)
    subprocess.run(["openssl", *made, *named], check=True, capture_output=True, timeout=30)
    monkeypatch.setenv("SSL_CERT_FILE", certificate)
    chosen = (faults.reset(share=0.5), faults.truncate(share=0.3), faults.slow_body(share=0.3, seconds=0.1))
    with serving(receiving.receiver_of(tmp_path), ssl_keyfile=key, ssl_certfile=certificate) as url:
        there = url.replace("http://127.0.0.1", "https://localhost")
        settings = {"secret": deliveries.SECRET, "retry_delay": 0.01, "timeout_seconds": 10}
        with Emitter(webhook_url=f"{there}/webhook", **settings) as emitter:
            results = emitter.run_pipeline(faults=FaultPlan(*chosen, seed=3))

    assert all(result.ok for result in results)
    assert sum(result.attempts for result in results) > 14
    assert not any("timed out" in str(result.error) for result in results)
    assert max(result.seconds for result in results) < 5
    assert receiving.counts(tmp_path) == (14, 0)


def test_the_test_in_the_guide_passes(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/faults.md").read_text()
    (code,) = [code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "def test_" in code]
    (tmp_path / "test_guide.py").write_text(code)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_guide.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    assert "1 passed" in done.stdout, done.stdout + done.stderr
