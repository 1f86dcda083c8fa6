"""What is asked of MoRAG, and how its answers are read: without a network."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from morag_client.api import endpoints
from morag_client.api.answers import read_answer
from morag_client.errors import ApiError

MISSING = [{"loc": ["body", "file"], "msg": "Field required"}]


def test_a_submission_says_what_the_guide_says() -> None:
    asked = endpoints.ingest_file(
        Path("a.pdf"), webhook_url="http://x/webhook", metadata={"document_id": "d"}, source_type=None
    )

    assert (asked.method, asked.path, asked.upload) == ("POST", "/api/v1/ingest/file", Path("a.pdf"))
    assert asked.fields == {
        "source_type": "document",
        "webhook_url": "http://x/webhook",
        "metadata": '{"document_id": "d"}',
    }


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.pdf", "document"),
        ("a.md", "document"),
        ("a", "document"),
        ("a.mp3", "audio"),
        ("a.mp4", "video"),
        ("a.png", "image"),
    ],
)
def test_the_source_type_follows_from_the_name(name: str, kind: str) -> None:
    asked = endpoints.ingest_file(Path(name), webhook_url=None, metadata=None, source_type=None)

    assert asked.fields == {"source_type": kind}


def test_ids_cannot_lead_elsewhere() -> None:
    assert endpoints.status("../secret?x=1#y").path == "/api/v1/status/..%2Fsecret%3Fx%3D1%23y"
    assert endpoints.history("ä b").path == "/api/v1/status/%C3%A4%20b/history"


@pytest.mark.parametrize("task_id", ["", ".", ".."])
def test_what_is_no_id(task_id: str) -> None:
    with pytest.raises(ApiError, match="no task id"):
        endpoints.status(task_id)


def answer(status_code: int, content: Any) -> Any:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return read_answer(endpoints.status("t"), status_code=status_code, body=body)


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
    ("status_code", "content", "detail", "says"),
    [
        (401, {"detail": "Invalid API key"}, "Invalid API key", "MORAG_API_KEY"),
        (404, {"detail": "Not Found"}, "Not Found", "MORAG_API_URL"),
        (410, {"detail": "Gone"}, "Gone", "no longer"),
        (413, b"<html>too large</html>", "<html>too large</html>", "too large"),
        (500, b"", None, "its log"),
        (502, b"\xff\xfe", "\ufffd\ufffd", "its log"),
        (307, b"", None, "MORAG_API_URL"),
        (422, {"detail": MISSING}, MISSING, "body.file: Field required"),
        (400, {"detail": {"code": 7}}, {"code": 7}, '{"code": 7}'),
        (400, ["odd"], ["odd"], "odd"),
    ],
)
def test_refusals_say_what_to_do(status_code: int, content: Any, detail: Any, says: str) -> None:
    with pytest.raises(ApiError) as caught:
        answer(status_code, content)

    assert caught.value.status_code == status_code
    assert caught.value.detail == detail
    assert says in str(caught.value)
    assert "GET /api/v1/status/t" in str(caught.value)


@pytest.mark.parametrize("content", [b"<html>", b"", b"[]", b'{"task_id": 7}', b'{"task_id": "t"}', b"\xff"])
def test_what_is_no_status_is_not_understood(content: bytes) -> None:
    with pytest.raises(ApiError, match="not understood") as caught:
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

    history = read_answer(endpoints.history("t"), status_code=200, body=body)

    assert history.event_count == len(history.history) == 1
    assert history.history[0].status == "started"
    assert history.history[0]["worker"] == "w1"
