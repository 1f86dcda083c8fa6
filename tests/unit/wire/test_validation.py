"""`validate_webhook`: the guide's rules, and every problem instead of the first."""

from __future__ import annotations

from typing import Any

import bodies
import pytest

from morag_client.wire.validation import validate_webhook


def changed(name: str, *path: str, value: Any) -> dict[str, Any]:
    sent = bodies.payload(name)
    place = sent
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return sent


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (
            changed("task_completed", "data", "status", value="failed"),
            "event_type 'task_completed' is inconsistent with data.status 'failed'",
        ),
        (
            changed("enveloped_step_completed", "data", "status", value="failed"),
            "event_type 'step_completed' is inconsistent with data.status 'failed'",
        ),
        (
            changed("r3_stage_result", "success", value=False),
            "status 'completed' is inconsistent with success false",
        ),
        (changed("chunking_completed", "progress_percent", value=101), "progress_percent is 101; expected a number"),
        (changed("chunking_completed", "progress_percent", value=-0.5), "progress_percent is -0.5; expected a number"),
        (changed("chunking_completed", "progress_percent", value="80"), "progress_percent is '80'; expected a number"),
        (
            changed("enveloped_step_completed", "data", "progress_percent", value=200),
            "data.progress_percent is 200; expected a number from 0 to 100",
        ),
        (
            changed("task_progress", "data", "progress", value=1.5),
            "data.progress is 1.5; expected a number",
        ),
        (changed("task_progress", "timestamp", value="now"), "timestamp is 'now'; expected an ISO 8601 time"),
        (changed("task_progress", "timestamp", value=1704103260), "timestamp is 1704103260; expected an ISO 8601"),
        (changed("task_progress", "event_type", value="task_paused"), "event_type is 'task_paused'; expected one of"),
        (changed("task_progress", "event_type", value=5), "event_type is 5; expected one of"),
        (changed("task_progress", "data", value=[]), "data is an array; expected an object"),
        (changed("task_progress", "data", "message", value=5), "data.message is 5; expected a string"),
        (changed("task_completed", "data", "result", value="x"), "data.result is 'x'; expected an object"),
        (changed("task_failed", "data", "error_details", value=[1]), "data.error_details is an array; expected"),
        (changed("chunking_completed", "document_id", value=456), "document_id is 456; expected a string"),
        (changed("chunking_completed", "data", value=True), "data is True; expected an object"),
        (changed("r3_stage_completed", "stage", "type", value="other"), "stage.type is 'other'; expected a stage's"),
        (changed("r3_stage_completed", "stage", "type", value=[]), "stage.type is an array; expected a stage's"),
        (changed("r3_stage_completed", "stage", "status", value="odd"), "stage.status is 'odd'; expected one of"),
        (changed("r3_stage_completed", "stage", "status", value={}), "stage.status is an object; expected a string"),
        (changed("r3_stage_completed", "stage", "end_time", value="x"), "stage.end_time is 'x'; expected an ISO 8601"),
        (changed("r3_pipeline_completed", "stages", value={}), "stages is an object; expected an array"),
        (changed("r3_pipeline_completed", "timestamp", value="x"), "timestamp is 'x'; expected an ISO 8601 time"),
        (changed("r3_stage_result", "job_id", value=7), "job_id is 7; expected a string"),
        (changed("r3_stage_result", "status", value=[]), "status is an array; expected one of"),
        (changed("r3_stage_chain_completed", "timestamp", value=0), "timestamp is 0; expected an ISO 8601 time"),
        (changed("r2_ingest_success", "result", value=[]), "result is an array; expected an object"),
        ({"hello": 1}, "no known dialect"),
        ({"event": "other"}, "no known dialect"),
    ],
)
def test_each_rule_alone(payload: dict[str, Any], expected: str) -> None:
    found = validate_webhook(payload)

    assert len(found) == 1
    assert found[0].startswith(expected)


def test_every_problem_is_returned() -> None:
    found = validate_webhook(
        {
            "event_type": "task_completed",
            "timestamp": "tomorrow",
            "data": {"status": "failed", "progress": 7, "message": 1, "result": [], "metadata": "x"},
        }
    )

    assert found == [
        "timestamp is 'tomorrow'; expected an ISO 8601 time",
        "data.task_id is missing; expected a string that is not empty",
        "event_type 'task_completed' is inconsistent with data.status 'failed'",
        "data.progress is 7; expected a number from 0 to 1",
        "data.message is 1; expected a string",
        "data.result is an array; expected an object",
        "data.metadata is 'x'; expected an object",
    ]


def test_the_guides_own_test_payload_is_valid() -> None:
    payload = {
        "event_type": "task_completed",
        "timestamp": "2024-01-15T10:30:00Z",
        "data": {"task_id": "test-123", "status": "completed", "result": {"chunks_created": 25}},
    }

    assert validate_webhook(payload) == []


@pytest.mark.parametrize("payload", [[], None, 5, "x", b"[]"])
def test_what_is_no_object_is_one_problem(payload: Any) -> None:
    assert len(validate_webhook(payload)) == 1


def test_the_payload_is_not_changed() -> None:
    payload = bodies.payload("task_completed")

    validate_webhook(payload)

    assert payload == bodies.payload("task_completed")
