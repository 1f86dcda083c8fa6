"""The emitter over real sockets: the guide's own integration tests, its retries, its signatures."""

from __future__ import annotations

import gc
import itertools
import socket
import threading
import time
import warnings

import pytest
from recording import Recorder, names
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from morag_client.errors import ConfigurationError
from morag_client.testing import DeliveryResult, Emitter
from morag_client.testing.serving import ThreadedServer
from morag_client.wire.signature import verify_signature

SEQUENCE = [
    "task_started",
    "markdown_conversion started",
    "markdown_conversion completed",
    "metadata_extraction started",
    "metadata_extraction completed",
    "content_processing started",
    "content_processing completed",
    "chunking started",
    "chunking completed",
    "graph_extraction started",
    "graph_extraction completed",
    "ingestion started",
    "ingestion completed",
    "task_completed",
]


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WEBHOOK_TIMEOUT", "WEBHOOK_MAX_RETRIES", "WEBHOOK_RETRY_DELAY"):
        monkeypatch.delenv(name, raising=False)


def test_the_guides_lifecycle() -> None:
    with Recorder() as recorder, Emitter(dialect="enveloped_step") as emitter:
        emitter.send_task_started(
            task_id="test-task-123", webhook_url=recorder.url, metadata={"source_type": "document"}
        )
        emitter.send_step_completed(
            webhook_url=recorder.url,
            task_id="test-task-123",
            document_id="doc-456",
            step="markdown_conversion",
            progress_percent=25.0,
            data={"conversion_metadata": {"page_count": 10}},
        )
        emitter.send_task_completed(
            task_id="test-task-123",
            webhook_url=recorder.url,
            result={"chunks_created": 25, "processing_time": 45.2},
        )

    started, step, completed = recorder.payloads
    assert started["event_type"] == "task_started"
    assert started["data"]["task_id"] == "test-task-123"
    assert started["data"]["metadata"] == {"source_type": "document"}
    assert step["data"]["step"] == "markdown_conversion"
    assert step["data"]["progress_percent"] == 25.0
    assert completed["event_type"] == "task_completed"
    assert completed["data"]["result"]["chunks_created"] == 25


def test_the_guides_retries_repeat_the_same_bytes() -> None:
    with Recorder(500, 500, 200) as recorder, Emitter(max_retries=2, timeout_seconds=5, retry_delay=0.01) as emitter:
        result = emitter.send_task_started(task_id="test-retry", webhook_url=recorder.url)

    assert result is True
    assert len(recorder.arrivals) == 3
    assert len({arrival.body for arrival in recorder.arrivals}) == 1


def test_gives_up_after_the_last_attempt() -> None:
    with Recorder(500) as recorder, Emitter(max_retries=2, retry_delay=0.01) as emitter:
        assert emitter.send_task_failed(task_id="t", webhook_url=recorder.url, error="boom") is False

    assert len(recorder.arrivals) == 3


def test_waits_twice_as_long_each_time() -> None:
    with Recorder(503, 503, 503, 200) as recorder, Emitter(max_retries=3, retry_delay=0.1) as emitter:
        assert emitter.send_task_started(task_id="t", webhook_url=recorder.url)

    at = [arrival.at for arrival in recorder.arrivals]
    waits = [after - before for before, after in itertools.pairwise(at)]
    assert all(wait >= least for wait, least in zip(waits, (0.1, 0.2, 0.4), strict=True))


def test_morags_own_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOK_MAX_RETRIES", "1")
    monkeypatch.setenv("WEBHOOK_RETRY_DELAY", "0.01")
    with Recorder(500) as recorder, Emitter() as emitter:
        assert not emitter.send_task_started(task_id="t", webhook_url=recorder.url)

    assert len(recorder.arrivals) == 2


def test_nobody_there_is_false() -> None:
    told: list[DeliveryResult] = []
    url = f"http://127.0.0.1:{free_port()}/webhook"
    with Emitter(max_retries=1, retry_delay=0.01, webhook_url=url, on_delivery=told.append) as emitter:
        assert emitter.send_task_started(task_id="t") is False

    (result,) = told
    assert (result.ok, result.attempts, result.status_code) == (False, 2, None)
    assert "refused" in str(result.error)


def test_a_slow_receiver_runs_into_the_timeout() -> None:
    with Recorder(delay=0.5) as recorder, Emitter(max_retries=0, timeout_seconds=0.1) as emitter:
        began = time.monotonic()
        assert not emitter.send_task_started(task_id="t", webhook_url=recorder.url)

    assert time.monotonic() - began >= 0.1
    assert len(recorder.arrivals) == 1


def test_signs_each_body_and_bears_the_token() -> None:
    with Recorder() as recorder, Emitter(secret="s3cret", bearer_token="tok", webhook_url=recorder.url) as emitter:
        emitter.run_pipeline()

    assert len(recorder.arrivals) == 14
    for arrival in recorder.arrivals:
        verify_signature(arrival.body, arrival.headers["x-morag-signature"], "s3cret")
        assert arrival.headers["authorization"] == "Bearer tok"
        assert arrival.headers["content-type"] == "application/json"


def test_without_a_secret_nothing_is_signed() -> None:
    with Recorder() as recorder, Emitter(webhook_url=recorder.url) as emitter:
        assert emitter.send_task_started(task_id="t")

    assert "x-morag-signature" not in recorder.arrivals[0].headers
    assert "authorization" not in recorder.arrivals[0].headers


def test_the_pipeline_is_the_guides_sequence() -> None:
    with Recorder() as recorder, Emitter(webhook_url=recorder.url) as emitter:
        results = emitter.run_pipeline(task_id="task-1", document_id="doc-1")

    assert names(recorder.payloads) == SEQUENCE
    assert [result.event for result in results] == [
        name.replace("task_", "task.").replace(" ", ".") for name in SEQUENCE
    ]
    assert all(result.ok and result.attempts == 1 and result.status_code == 200 for result in results)
    assert all(0 < result.seconds < 5 for result in results)
    steps = [payload for payload in recorder.payloads if "step" in payload]
    assert [step["progress_percent"] for step in steps] == [0, 25, 25, 40, 40, 70, 70, 80, 80, 90, 90, 100]
    assert {step["document_id"] for step in steps} == {"doc-1"}
    assert recorder.payloads[0]["data"]["metadata"]["document_id"] == "doc-1"
    assert recorder.payloads[0]["data"]["metadata"]["webhook_url"] == recorder.url


def test_milestones_make_it_seventeen() -> None:
    with Recorder() as recorder, Emitter(webhook_url=recorder.url) as emitter:
        emitter.run_pipeline(progress_events=True)

    told = [(p["data"]["progress"], p["data"]["metadata"]["stage"]) for p in recorder.payloads if progresses(p)]
    assert len(recorder.payloads) == 17
    assert told == [(0.25, "markdown_conversion"), (0.5, "content_processing"), (0.75, "chunking")]
    assert names(recorder.payloads)[3] == "task_progress"


def progresses(payload: dict[str, object]) -> bool:
    return payload.get("event_type") == "task_progress"


def test_a_step_that_fails_ends_the_task() -> None:
    with Recorder() as recorder, Emitter(webhook_url=recorder.url) as emitter:
        emitter.run_pipeline(fail_at="metadata_extraction")

    assert names(recorder.payloads) == [*SEQUENCE[:4], "metadata_extraction failed", "task_failed"]
    failed = recorder.payloads[-2]
    assert 25 < failed["progress_percent"] < 40
    assert failed["error_message"]
    assert failed["data"]["error_code"]
    task = recorder.payloads[-1]["data"]
    assert task["error"] == failed["error_message"]
    assert task["error_details"]["step"] == "metadata_extraction"


def test_a_delivery_that_fails_does_not_stop_the_rest() -> None:
    with Recorder(401, 200) as recorder, Emitter(webhook_url=recorder.url, max_retries=0) as emitter:
        results = emitter.run_pipeline()

    assert [result.ok for result in results] == [False] + [True] * 13


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"secret": " "}, "blank"),
        ({"bearer_token": ""}, "blank"),
        ({"bearer_token": "line\nend"}, "no header can carry"),
        ({"webhook_url": "http://a..b/"}, "http://host:port"),
        ({"webhook_url": "http://x:99999/"}, "http://host:port"),
        ({"webhook_url": "http://x/\x00"}, "http://host:port"),
        ({"webhook_url": "localhost:8001/webhook"}, "http://host:port"),
        ({"webhook_url": "http://"}, "http://host:port"),
        ({"max_retries": -1}, "retries"),
        ({"timeout_seconds": 0}, "timeout"),
        ({"retry_delay": -1.0}, "retry delay"),
    ],
)
def test_what_cannot_work_is_said_at_once(wrong: dict, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        Emitter(**wrong)


def test_a_variable_that_is_no_number_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOK_TIMEOUT", "soon")
    with (
        Emitter(webhook_url="http://127.0.0.1:9/webhook") as emitter,
        pytest.raises(ConfigurationError, match="WEBHOOK_TIMEOUT is 'soon'"),
    ):
        emitter.send_task_started(task_id="t")


def test_a_dialect_without_words_says_so() -> None:
    with (
        Emitter(webhook_url="http://127.0.0.1:9/webhook", dialect="ingest_result") as emitter,
        pytest.raises(ConfigurationError, match=r"cannot say chunking\.started"),
    ):
        emitter.send_step_started(task_id="t", step="chunking", progress_percent=70)


def test_without_a_url_there_is_nothing_to_send_to() -> None:
    with Emitter() as emitter, pytest.raises(ConfigurationError, match="webhook_url="):
        emitter.send_task_started(task_id="t")


def test_closing_ends_the_waiting_for_a_retry() -> None:
    with Recorder(500) as recorder:
        emitter = Emitter(webhook_url=recorder.url, max_retries=3, retry_delay=30)
        outcome: list[bool] = []
        thread = threading.Thread(target=lambda: outcome.append(emitter.send_task_started(task_id="t")))
        thread.start()
        while not recorder.arrivals:
            time.sleep(0.01)
        emitter.close()
        thread.join(5)

    assert outcome == [False]
    assert emitter.send_task_started(task_id="t") is False


def test_an_emitter_that_is_dropped_leaves_no_socket() -> None:
    async def accept(_request: object) -> PlainTextResponse:
        return PlainTextResponse("ok")

    with ThreadedServer(Starlette(routes=[Route("/webhook", accept, methods=["POST"])])) as server:
        assert Emitter().send_task_started(task_id="t", webhook_url=f"{server.url}/webhook")
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            gc.collect()

    assert warned == []  # an open socket that is collected would warn


def test_many_threads_may_share_one() -> None:
    with Recorder() as recorder, Emitter(webhook_url=recorder.url) as emitter:
        threads = [threading.Thread(target=emitter.run_pipeline) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert len(recorder.arrivals) == 8 * 14
    tasks = [p.get("task_id") or p["data"]["task_id"] for p in recorder.payloads]
    assert sorted(tasks.count(task) for task in set(tasks)) == [14] * 8


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
