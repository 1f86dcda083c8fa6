"""What is asked of MoRAG, and how its answers are read: without a network."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from morag_client.api import endpoints
from morag_client.api.answers import read_answer
from morag_client.api.models import TaskHistory, TaskStatus
from morag_client.api.refusals import retry_after
from morag_client.api.requests import Head, Request
from morag_client.api.source_types import source_type_of_file, source_type_of_url
from morag_client.api.submitting import ingest_batch, ingest_file, process
from morag_client.errors import (
    ApiError,
    BadRequest,
    ConfigurationError,
    Conflict,
    Forbidden,
    Gone,
    NotFound,
    NotSupported,
    NotUnderstood,
    RateLimited,
    ServerFailed,
    TooLarge,
    Unauthorized,
    ValidationRefused,
)

ASKED = Request(method="GET", path="/api/v1/status/t")

MISSING = [{"loc": ["body", "file"], "msg": "Field required"}]


def test_r1_and_the_guide_take_fields() -> None:
    described = ingest_file(
        "a.pdf", webhook_url="http://x/webhook", metadata={"project": "p"}, document_id="d", source_type="image"
    )

    asked = described.requests["r1"]
    assert asked == described.requests["guide"]
    assert (asked.method, asked.path) == ("POST", "/api/v1/ingest/file")
    assert asked.upload is not None
    assert asked.upload.path == Path("a.pdf")
    assert asked.fields == {
        "source_type": "image",
        "webhook_url": "http://x/webhook",
        "metadata": '{"project": "p", "document_id": "d"}',
    }


def test_r2_takes_the_json_of_one_field() -> None:
    described = ingest_file("a.pdf", webhook_url="http://x/webhook", metadata={"a": 1}, document_id="d", chunk_size=5)

    fields = described.requests["r2"].fields
    assert fields is not None
    assert json.loads(fields["request_data"]) == {
        "source_type": "document",
        "webhook_url": "http://x/webhook",
        "metadata": {"a": 1},
        "document_id": "d",
        "chunk_size": 5,
    }
    assert set(described.refusals) == {"guide", "r1"}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.pdf", "document"),
        ("a.md", "document"),
        ("a", "document"),
        (".mp3", "document"),
        ("a.MP3", "audio"),
        ("a.m4a", "audio"),
        ("a.opus", "audio"),
        ("a.mp4", "video"),
        ("a.mkv", "video"),
        ("a.ts", "video"),
        ("a.png", "image"),
        ("a.webp", "image"),
        ("a.heic", "image"),
    ],
)
def test_the_source_type_follows_from_the_name(name: str, kind: str) -> None:
    assert source_type_of_file(name) == kind


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("https://www.youtube.com/watch?v=1", "youtube"),
        ("https://youtu.be/1", "youtube"),
        ("https://YOUTUBE.com./1", "youtube"),
        ("https://notyoutube.com/1", "web"),
        ("https://youtube.com.evil.example/", "web"),
        ("https://example.com/?u=youtube.com", "web"),
        ("http://[::1", "web"),
    ],
)
def test_the_source_type_follows_from_the_url(url: str, kind: str) -> None:
    assert source_type_of_url(url) == kind


def test_ids_cannot_lead_elsewhere() -> None:
    assert endpoints.status("../secret?x=1#y").requests["r1"].path == "/api/v1/status/..%2Fsecret%3Fx%3D1%23y"
    assert endpoints.history("ä b").requests["r2"].path == "/api/v1/status/%C3%A4%20b/history"


@pytest.mark.parametrize("task_id", ["", ".", ".."])
def test_what_is_no_id(task_id: str) -> None:
    with pytest.raises(ConfigurationError, match="no task id"):
        endpoints.status(task_id)


def test_what_a_release_does_not_have_is_not_supported() -> None:
    for described, release in ((endpoints.status("t"), "r3"), (endpoints.cancel("t"), "r1")):
        with pytest.raises(NotSupported, match=f"not in MoRAG's release {release}"):
            next(described.course(release))


def test_a_batch_of_more_than_50_is_r2s() -> None:
    described = ingest_batch(f"http://x/{number}" for number in range(51))

    with pytest.raises(NotSupported, match="several batches"):
        next(described.course("r1"))
    assert next(described.course("r2")).request().path == "/api/v1/ingest/batch"


@pytest.mark.parametrize("items", [[], [{"source_type": "web"}], [{"url": 7}]])
def test_what_is_no_batch(items: Any) -> None:
    with pytest.raises(ConfigurationError):
        ingest_batch(items)


def test_process_takes_one_thing_and_reports_somewhere() -> None:
    with pytest.raises(ConfigurationError, match="one of"):
        process("a.pdf", mode="convert", url="http://x")
    with pytest.raises(ConfigurationError, match="one of"):
        process(mode="convert")
    with pytest.raises(ConfigurationError, match="webhook"):
        process("a.pdf", mode="ingest")


def test_what_is_no_json_is_said_before_it_is_sent() -> None:
    for metadata in ({"when": datetime(2025, 1, 1, tzinfo=UTC)}, {"x": float("nan")}):
        with pytest.raises(ConfigurationError, match="no JSON"):
            ingest_file("a.pdf", metadata=metadata)


def answer(status_code: int, content: Any) -> Any:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return read_answer(ASKED, TaskStatus, head=Head(url="http://x", status_code=status_code, headers={}), body=body)


def test_a_status_is_typed_and_keeps_what_it_does_not_know() -> None:
    status = answer(
        200,
        {
            "task_id": "t",
            "status": "progress",
            "progress": 0.5,
            "created_at": "2025-06-03T07:34:47.123456",
            "queue": "gpu",
        },
    )

    assert (status.status, status.progress, status["queue"]) == ("progress", 0.5, "gpu")
    assert status.created_at == datetime(2025, 6, 3, 7, 34, 47, 123456, tzinfo=UTC)
    assert status.completed_at is None


@pytest.mark.parametrize(
    ("status_code", "kind", "content", "detail", "says"),
    [
        (401, Unauthorized, {"detail": "Invalid API key"}, "Invalid API key", "MORAG_API_KEY"),
        (404, NotFound, {"detail": "Not Found"}, "Not Found", "MORAG_API_URL"),
        (410, Gone, {"detail": "Gone"}, "Gone", "no longer"),
        (413, TooLarge, b"<html>too large</html>", "<html>too large</html>", "too large"),
        (500, ServerFailed, b"", None, "its log"),
        (502, ServerFailed, b"\xff\xfe", "\ufffd\ufffd", "its log"),
        (307, ApiError, b"", None, "MORAG_API_URL"),
        (422, ValidationRefused, {"detail": MISSING}, MISSING, "body.file: Field required"),
        (400, BadRequest, {"detail": {"code": 7}}, {"code": 7}, '{"code": 7}'),
        (400, BadRequest, ["odd"], ["odd"], "odd"),
        (403, Forbidden, {"detail": "no"}, "no", "may not"),
        (409, Conflict, {"detail": "no"}, "no", "how things stand"),
        (418, ApiError, b"", None, "correct"),
        (429, RateLimited, {"detail": "slow"}, "slow", "later"),
        (422, ValidationRefused, {"detail": [{"loc": 7, "msg": "m"}]}, [{"loc": 7, "msg": "m"}], "7: m"),
    ],
)
def test_refusals_say_what_to_do(status_code: int, kind: type[ApiError], content: Any, detail: Any, says: str) -> None:
    with pytest.raises(ApiError) as caught:
        answer(status_code, content)

    assert type(caught.value) is kind
    assert caught.value.status_code == status_code
    assert caught.value.detail == detail
    assert says in str(caught.value)
    assert "GET /api/v1/status/t" in str(caught.value)


@pytest.mark.parametrize("content", [b"<html>", b"", b"[]", b'{"task_id": 7}', b'{"task_id": "t"}', b"\xff"])
def test_what_is_no_status_is_not_understood(content: bytes) -> None:
    with pytest.raises(NotUnderstood, match="not understood") as caught:
        answer(200, content)

    assert caught.value.status_code == 200


def test_a_history_is_typed() -> None:
    body = json.dumps(
        {
            "task_id": "t",
            "history": [{"timestamp": "2025-06-03T07:34:47", "status": "started", "progress": 0.0, "worker": "w1"}],
            "event_count": 1,
        }
    ).encode()

    history = read_answer(ASKED, TaskHistory, head=Head(url="http://x", status_code=200, headers={}), body=body)

    assert history.event_count == len(history.history) == 1
    assert history.history[0].status == "started"
    assert history.history[0]["worker"] == "w1"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("Tue, 03 Jun 2025 07:35:00 GMT", 13.0),
        ("Tue, 03 Jun 2025 07:34:00 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1e9", None),
        ("²", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    told = Head(url="http://x", status_code=429, headers={"retry-after": value})

    assert retry_after(told, now=datetime(2025, 6, 3, 7, 34, 47, tzinfo=UTC)) == seconds


def test_a_refusal_shows_no_token_of_a_signed_url() -> None:
    token = "morag-w1." + "A" * 40

    with pytest.raises(BadRequest) as caught:
        answer(400, {"detail": f"cannot post to http://x/webhook/{token}"})

    assert token not in str(caught.value)
    assert caught.value.detail == "cannot post to http://x/webhook/REDACTED"
