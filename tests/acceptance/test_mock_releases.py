"""What each release tells of a task, and in which words its status calls answer."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from mocking import Asked, asked
from recording import Recorder, names

from morag_client import parse_event
from morag_client.errors import ConfigurationError
from morag_client.testing import MockMorag

STATUS_FIELDS = {
    "task_id",
    "status",
    "progress",
    "message",
    "result",
    "error",
    "created_at",
    "started_at",
    "completed_at",
    "estimated_time_remaining",
}
GUIDE = [
    "task_started",
    *(
        f"{step} {status}"
        for step in (
            "markdown_conversion",
            "metadata_extraction",
            "content_processing",
            "chunking",
            "graph_extraction",
            "ingestion",
        )
        for status in ("started", "completed")
    ),
    "task_completed",
]


def r2(morag: Asked, recorder: Recorder, **options: Any) -> str:
    return morag.ingest(request_data={"webhook_url": recorder.url, **options})


def test_the_guide_tells_flat_steps_as_it_shows_them() -> None:
    with asked() as morag, Recorder() as recorder:
        morag.ingest(webhook_url=recorder.url)

    assert names(recorder.payloads) == GUIDE
    assert {arrival.headers["user-agent"] for arrival in recorder.arrivals} == {"MoRAG-Webhook/1.0"}
    started, completed = recorder.payloads[1], recorder.payloads[2]
    assert started.keys() == {"task_id", "step", "status", "progress_percent", "timestamp"}
    assert started["timestamp"].endswith("Z")
    assert started.keys() | {"data"} == completed.keys()
    assert recorder.payloads[0].keys() == {"event_type", "timestamp", "data"}


def test_the_guide_tells_steps_in_envelopes_where_that_is_asked_for() -> None:
    with asked(envelope_steps=True) as morag, Recorder() as recorder:
        morag.ingest(webhook_url=recorder.url)

    assert names(recorder.payloads) == GUIDE
    assert {frozenset(payload) for payload in recorder.payloads} == {frozenset({"event_type", "timestamp", "data"})}
    assert recorder.payloads[1]["event_type"] == "step_started"
    assert {arrival.headers["user-agent"] for arrival in recorder.arrivals} == {"MoRAG-Webhook/1.0"}


def test_r1_tells_of_tasks_in_naive_times() -> None:
    with asked(profile="r1") as morag, Recorder() as recorder:
        morag.ingest(webhook_url=recorder.url)

    told = names(recorder.payloads)
    assert told == ["task_started", "task_progress", "task_progress", "task_progress", "task_completed"]
    assert [p["data"].get("progress") for p in recorder.payloads] == [None, 0.25, 0.5, 0.75, None]
    assert all(datetime.fromisoformat(p["timestamp"]).tzinfo is None for p in recorder.payloads)
    assert all("authorization" not in arrival.headers for arrival in recorder.arrivals)


def test_r2_tells_of_four_steps_and_of_the_end_by_another_sender() -> None:
    config = {"url": "", "auth_token": "tok"}
    with asked(profile="r2") as morag, Recorder() as recorder:
        config["url"] = recorder.url
        answer = morag.upload("/api/v1/process", request_data={"mode": "ingest", "webhook_config": config})
        task_id = morag.wait(answer.json()["task_id"])

    *steps, end = recorder.arrivals
    told = [(p["step"], p["status"], p["progress_percent"]) for p in (step.payload for step in steps)]
    assert told == [
        ("markdown_conversion", "started", 0.0),
        ("markdown_conversion", "completed", 20.0),
        ("metadata_extraction", "started", 20.0),
        ("metadata_extraction", "completed", 40.0),
        ("content_processing", "started", 40.0),
        ("content_processing", "completed", 70.0),
        ("ingestion", "started", 70.0),
        ("ingestion", "completed", 100.0),
    ]
    assert steps[0].payload["data"] is None
    assert steps[0].payload["document_id"] is None
    assert steps[0].payload["timestamp"].endswith("+00:00")
    assert isinstance(steps[3].payload["data"]["metadata"]["created_at"], float)
    assert isinstance(steps[3].payload["data"]["metadata"]["modified_at"], float)
    assert steps[-1].payload["data"].keys() == {
        "chunks_processed",
        "total_text_length",
        "database_collection",
        "processing_time_seconds",
    }
    assert steps[-1].payload["data"]["total_text_length"] == steps[5].payload["data"]["content_length"] > 0
    assert {step.headers["user-agent"] for step in steps} == {"MoRAG-Webhook-Service/1.0"}
    assert {step.headers["authorization"] for step in steps} == {"Bearer tok"}
    assert end.payload["task_id"] == task_id
    assert (end.payload["status"], end.payload["completed_at"]) == ("SUCCESS", "2024-01-01T12:05:30")
    assert "authorization" not in end.headers
    assert "MoRAG" not in end.headers["user-agent"]


def test_r2_calls_any_failure_processing() -> None:
    with asked(profile="r2") as morag, Recorder() as recorder:
        task_id = morag.ingest(name="a.xyz", request_data={"webhook_url": recorder.url})
        status = morag.get(f"/api/v1/status/{task_id}").json()

    started, failed, end = recorder.payloads
    assert started["step"] == "markdown_conversion"
    assert (failed["step"], failed["status"], failed["progress_percent"]) == ("processing", "failed", 0.0)
    assert failed["data"] is None
    assert ".xyz" in failed["error_message"]
    assert (end["status"], end["result"]) == ("FAILURE", None)
    assert status["status"] == "failed"


@pytest.mark.parametrize(
    ("profile", "words"),
    [("guide", ["started", "progress", "success"]), ("r1", ["started", "progress", "success"])],
)
def test_words_of_r1(profile: str, words: list[str]) -> None:
    with asked(profile=profile) as morag:
        task_id = morag.ingest()
        status = morag.get(f"/api/v1/status/{task_id}").json()
        history = morag.get(f"/api/v1/status/{task_id}/history").json()["history"]

    assert status["status"] == "success"
    assert list(dict.fromkeys(entry["status"] for entry in reversed(history))) == words


def test_words_of_r2() -> None:
    with asked(profile="r2") as morag:
        task_id = morag.ingest(request_data={})
        status = morag.get(f"/api/v1/status/{task_id}").json()
        history = morag.get(f"/api/v1/status/{task_id}/history").json()["history"]

    assert status["status"] == "completed"
    assert {entry["status"] for entry in history} == {"running", "completed"}


@pytest.mark.parametrize("profile", ["guide", "r1", "r2"])
def test_status_history_and_recent_have_exactly_these_fields(profile: str) -> None:
    with asked(profile=profile) as morag:
        task_id = morag.ingest(**({"request_data": {}} if profile == "r2" else {}))
        status = morag.get(f"/api/v1/status/{task_id}").json()
        history = morag.get(f"/api/v1/status/{task_id}/history").json()
        recent = morag.get("/api/v1/status/events/recent").json()
        unknown = morag.get("/api/v1/status/nobody").json()

    assert status.keys() == unknown.keys() == STATUS_FIELDS
    assert unknown["status"] == "pending"
    assert history.keys() == {"task_id", "history", "event_count"}
    entry = {"timestamp", "status", "progress", "message", "metadata"}
    assert all(one.keys() == entry for one in history["history"])
    assert all("data" not in one["metadata"] and "chunks_created" not in json.dumps(one) for one in history["history"])
    assert recent.keys() == {"events", "count", "hours"}
    assert (recent["hours"], recent["count"]) == (24, len(recent["events"]))
    assert all(one.keys() == entry | {"task_id"} for one in recent["events"])
    times = [status["created_at"], status["completed_at"], history["history"][0]["timestamp"]]
    assert all(datetime.fromisoformat(time).tzinfo is None for time in times)
    assert all(abs((datetime.fromisoformat(time) - _utc_now()).total_seconds()) < 60 for time in times)


def test_recent_events_are_a_hundred_in_all_the_newest_first() -> None:
    with asked() as morag:
        tasks = [morag.ingest() for _ in range(8)]
        recent = morag.get("/api/v1/status/events/recent?hours=1").json()

    assert (recent["count"], recent["hours"], len(recent["events"])) == (100, 1, 100)
    assert recent["events"][0]["task_id"] == tasks[-1]
    assert {event["task_id"] for event in recent["events"]} == set(tasks)
    stamps = [event["timestamp"] for event in recent["events"]]
    assert stamps == sorted(stamps, reverse=True)


@pytest.mark.parametrize(("profile", "counted_as"), [("guide", "count"), ("r1", "count"), ("r2", "total_count")])
def test_active_tasks_and_queues(profile: str, counted_as: str) -> None:
    with asked(profile=profile, speed=5) as morag:
        fields = {"request_data": {}} if profile == "r2" else {}
        task_id = morag.upload("/api/v1/ingest/file", **fields).json()["task_id"]
        while morag.get(f"/api/v1/status/{task_id}").json()["started_at"] is None:
            pass
        active = morag.get("/api/v1/status/").json()
        queues = morag.get("/api/v1/status/stats/queues").json()

    assert active.keys() == {"active_tasks", counted_as}
    assert active[counted_as] == 1
    assert active["active_tasks"][0]["id"] == task_id
    assert queues.keys() == {"active_tasks", "scheduled_tasks", "reserved_tasks", "workers"}
    assert (queues["active_tasks"], queues["scheduled_tasks"], queues["reserved_tasks"]) == (1, 0, 0)
    assert len(queues["workers"]) == 1


def test_a_cancelled_task_of_r2_tells_nothing_more() -> None:
    with asked(profile="r2", speed=20) as morag, Recorder() as recorder:
        answer = morag.upload("/api/v1/ingest/file", request_data={"webhook_url": recorder.url}).json()
        task_id = answer["task_id"]
        while not recorder.arrivals:
            pass
        cancelled = morag.http.delete(f"/api/v1/ingest/{task_id}")
        assert morag.mock.wait(task_id, timeout_seconds=5)
        status = morag.get(f"/api/v1/status/{task_id}").json()
        history = morag.get(f"/api/v1/status/{task_id}/history").json()["history"]

    assert cancelled.json() == {"message": f"Task {task_id} has been cancelled", "task_id": task_id}
    assert (status["status"], status["result"]) == ("cancelled", None)
    assert status["completed_at"] is not None
    assert history[0]["status"] == "cancelled"
    assert len(recorder.arrivals) == 1


def test_cancelling_what_has_ended_or_is_unknown_changes_nothing() -> None:
    with asked(profile="r2") as morag:
        task_id = morag.ingest(request_data={})
        done = morag.http.delete(f"/api/v1/ingest/{task_id}")
        unknown = morag.http.delete("/api/v1/ingest/nobody")
        status = morag.get(f"/api/v1/status/{task_id}").json()["status"]

    assert (done.status_code, unknown.status_code, status) == (200, 200, "completed")


def test_only_r2_can_cancel_and_r1_has_no_process() -> None:
    with asked(profile="r1") as morag:
        assert morag.http.delete("/api/v1/ingest/x").status_code in {404, 405}
        assert morag.upload("/api/v1/process", request_data={"mode": "convert"}).status_code == 404
    with asked() as morag:
        assert morag.http.delete("/api/v1/ingest/x").status_code in {404, 405}


@pytest.mark.parametrize("profile", ["guide", "r1", "r2"])
def test_our_own_reader_understands_whatever_is_told(profile: str) -> None:
    with asked(profile=profile) as morag, Recorder() as recorder:
        fields = {"webhook_url": recorder.url}
        task_id = morag.ingest(**({"request_data": fields} if profile == "r2" else fields))

    events = [parse_event(arrival.body) for arrival in recorder.arrivals]
    assert {event.task_id for event in events} == {task_id}
    assert events[-1].name == "task.completed"
    assert "unknown" not in {event.name for event in events}


def test_profiles_that_cannot_be() -> None:
    with pytest.raises(ConfigurationError, match="guide, r1, r2, r3"):
        MockMorag(profile="r4")
    with pytest.raises(ConfigurationError, match="enveloped steps"):
        MockMorag(profile="r2", envelope_steps=True)


def _utc_now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
