"""The mock MoRAG over HTTP, as an application and as curl meet it."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from recording import Recorder, names

from morag_client.errors import ConfigurationError
from morag_client.testing import MockMorag
from morag_client.wire.signature import verify_signature

KEY = {"Authorization": "Bearer test-api-key"}
TEXT = b"# Tides\n\nThe tide is the rise of the sea. NOAA measures the tide.\n\n## Moon\n\nThe Moon is far.\n"


@pytest.fixture
def mock() -> Iterator[MockMorag]:
    with MockMorag(webhook_secret="s3cret") as served:
        yield served


@pytest.fixture
def http(mock: MockMorag) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=mock.url, headers=KEY) as client:
        yield client


def submit(http: httpx2.Client, *, name: str = "tides.md", content: bytes = TEXT, **fields: str) -> httpx2.Response:
    return http.post("/api/v1/ingest/file", data=fields, files={"file": (name, content)})


def test_a_document_becomes_fourteen_signed_webhooks(mock: MockMorag, http: httpx2.Client) -> None:
    with Recorder() as recorder:
        metadata = json.dumps({"document_id": "doc-7", "collection_name": "tidal"})
        answer = submit(http, source_type="document", webhook_url=recorder.url, metadata=metadata)
        task_id = answer.json()["task_id"]
        assert mock.wait(task_id, timeout_seconds=20)

    assert answer.status_code == 200
    assert answer.json().keys() == {"task_id", "status", "message", "estimated_time"}
    assert answer.json()["status"] == "pending"
    told = names(recorder.payloads)
    assert (told[0], told[1], told[-1]) == ("task_started", "markdown_conversion started", "task_completed")
    assert len(told) == 14
    for arrival in recorder.arrivals:
        verify_signature(arrival.body, arrival.headers["x-morag-signature"], "s3cret")
    assert {p["document_id"] for p in recorder.payloads if "step" in p} == {"doc-7"}
    assert recorder.payloads[-1]["data"]["result"]["database_collection"] == "tidal"
    assert recorder.payloads[-1]["data"]["metadata"]["webhook_url"] == recorder.url
    assert [result.ok for result in mock.deliveries] == [True] * 14


def test_what_the_webhooks_name_can_be_fetched(mock: MockMorag, http: httpx2.Client) -> None:
    with Recorder() as recorder:
        mock.wait(submit(http, webhook_url=recorder.url).json()["task_id"])

    found = {p["step"]: p["data"] for p in recorder.payloads if p.get("status") == "completed" and "step" in p}
    markdown = http.get(found["markdown_conversion"]["markdown_file_url"])
    chunks = http.get(found["chunking"]["chunks_file_url"])
    metadata = http.get(found["metadata_extraction"]["metadata_file_url"])
    assert markdown.content == TEXT
    assert markdown.headers["content-type"].startswith("text/markdown")
    assert len(chunks.json()) == found["chunking"]["chunks_created"] == found["ingestion"]["chunks_ingested"]
    assert metadata.json() == found["metadata_extraction"]["metadata"]
    assert http.get("/api/files/temp/nobody/markdown.md").status_code == 404


def test_status_and_history_of_a_done_task(mock: MockMorag, http: httpx2.Client) -> None:
    task_id = submit(http).json()["task_id"]
    mock.wait(task_id)

    status = http.get(f"/api/v1/status/{task_id}").json()
    history = http.get(f"/api/v1/status/{task_id}/history").json()

    assert (status["task_id"], status["status"], status["progress"]) == (task_id, "success", 1.0)
    assert status["result"]["chunks_created"] == 2
    assert status["error"] is None
    assert status["created_at"] <= status["started_at"] <= status["completed_at"]
    assert status["estimated_time_remaining"] is None
    assert history["event_count"] == len(history["history"]) == 14
    assert history["history"][0]["status"] == "success"
    assert history["history"][-1]["status"] == "started"
    stamps = [entry["timestamp"] for entry in history["history"]]
    assert stamps == sorted(stamps, reverse=True)
    assert history["history"][0].keys() == {"timestamp", "status", "progress", "message", "metadata"}


def test_an_unknown_task_is_pending_for_ever(http: httpx2.Client) -> None:
    assert http.get("/api/v1/status/nobody").json()["status"] == "pending"
    assert http.get("/api/v1/status/nobody/history").json() == {"task_id": "nobody", "history": [], "event_count": 0}


def test_another_format_fails_as_morags_does(mock: MockMorag, http: httpx2.Client) -> None:
    with Recorder() as recorder:
        task_id = submit(http, name="slides.pptx", content=b"PK", webhook_url=recorder.url).json()["task_id"]
        mock.wait(task_id)

    assert names(recorder.payloads) == [
        "task_started",
        "markdown_conversion started",
        "markdown_conversion failed",
        "task_failed",
    ]
    assert recorder.payloads[2]["data"]["error_code"] == "UNSUPPORTED_FORMAT"
    status = http.get(f"/api/v1/status/{task_id}").json()
    assert status["status"] == "failure"
    assert ".pptx" in status["error"]


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "test-api-key"}])
@pytest.mark.parametrize(
    "path", ["/api/v1/status/x", "/api/v1/ingest/file", "/api/files/temp/x/markdown.md", "/nowhere"]
)
def test_without_the_key_nobody_gets_in(mock: MockMorag, path: str, headers: dict[str, str]) -> None:
    answer = httpx2.get(f"{mock.url}{path}", headers=headers)

    assert answer.status_code == 401
    assert isinstance(answer.json()["detail"], str)


@pytest.mark.parametrize(
    ("fields", "status", "says"),
    [
        ({"source_type": "smoke"}, 422, "source_type"),
        ({"metadata": "{not json"}, 400, "metadata"),
        ({"metadata": "[1]"}, 400, "metadata"),
        ({"metadata": '{"a": NaN}'}, 400, "metadata"),
        ({"metadata": '{"a": "\\ud800"}'}, 400, "metadata"),
        ({"webhook_url": "ftp://example.com"}, 400, "webhook_url"),
    ],
)
def test_bad_submissions_are_refused_as_fastapi_does(
    http: httpx2.Client, fields: dict[str, str], status: int, says: str
) -> None:
    answer = submit(http, **fields)

    assert answer.status_code == status
    assert says in json.dumps(answer.json()["detail"])


@pytest.mark.parametrize("kind", ["nothing", "json", "no file"])
def test_a_submission_without_a_file_is_422(http: httpx2.Client, kind: str) -> None:
    sent: dict[str, Any] = {"nothing": {}, "json": {"json": {"a": 1}}, "no file": {"data": {"source_type": "document"}}}
    answer = http.post("/api/v1/ingest/file", **sent[kind])

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "file"]


def test_a_broken_multipart_body_is_400(http: httpx2.Client) -> None:
    answer = http.post(
        "/api/v1/ingest/file", content=b"--x\r\nnonsense", headers={"content-type": "multipart/form-data; boundary=y"}
    )

    assert answer.status_code == 400
    assert isinstance(answer.json()["detail"], str)


def test_other_paths_and_methods_answer_with_a_detail(http: httpx2.Client) -> None:
    assert http.get("/nowhere").json() == {"detail": "Not Found"}
    assert http.get("/api/v1/ingest/file").status_code == 405
    assert http.get("/api/v1/ingest/file").json() == {"detail": "Method Not Allowed"}


def test_a_slow_task_shows_its_progress_on_the_way() -> None:
    with (
        MockMorag(speed=0.2) as mock,
        Recorder() as recorder,
        httpx2.Client(base_url=mock.url, headers=KEY) as http,
    ):
        answer = submit(http, webhook_url=recorder.url).json()
        seen = set()
        began = time.monotonic()
        while not mock.wait(answer["task_id"], timeout_seconds=0.02):
            seen.add(http.get(f"/api/v1/status/{answer['task_id']}").json()["progress"])
            assert time.monotonic() - began < 20

    assert time.monotonic() - began >= 0.7
    assert answer["estimated_time"] >= 1
    assert len(seen) >= 4


def test_stopping_gives_up_what_still_runs() -> None:
    with Recorder() as recorder:
        with MockMorag(speed=10) as mock, httpx2.Client(base_url=mock.url, headers=KEY) as http:
            submit(http, webhook_url=recorder.url)
            while len(mock.deliveries) < 2:
                time.sleep(0.01)
            began = time.monotonic()
        took = time.monotonic() - began

    assert took < 5
    assert names(recorder.payloads) == ["task_started", "markdown_conversion started"]
    assert [result.event for result in mock.deliveries] == ["task.started", "markdown_conversion.started"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("mock task")]


def test_many_tasks_side_by_side(mock: MockMorag, http: httpx2.Client) -> None:
    with Recorder() as recorder:
        tasks = [submit(http, webhook_url=recorder.url).json()["task_id"] for _ in range(20)]
        assert all(mock.wait(task, timeout_seconds=30) for task in tasks)

    assert len(recorder.arrivals) == 20 * 14


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(ConfigurationError, match=f"port {port} .* port="):
            MockMorag(port=port).start()


def test_a_speed_below_zero_cannot_be() -> None:
    with pytest.raises(ConfigurationError, match="speed"):
        MockMorag(speed=-1)
