"""What marks a dialect: a marker that is there makes the rest required, an unlisted value of one is `unknown`."""

from __future__ import annotations

from typing import Any

import bodies
import pytest

from morag_client.errors import InvalidPayload
from morag_client.events.types import StepCompleted, UnknownEvent
from morag_client.wire.parsing import parse_event

STEP = bodies.payload("chunking_completed")


def parse(payload: Any) -> Any:
    return parse_event(bodies.as_body(payload))


def problems(payload: Any) -> list[str]:
    with pytest.raises(InvalidPayload) as caught:
        parse(payload)
    assert caught.value.status == 422
    return list(caught.value.problems)


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"hello": "world"},
        {"event_type": "task_cancelled", "timestamp": "2025-01-01T00:00:00Z", "data": {"task_id": "t"}},
        {"event_type": "document_indexed"},
        {"event_type": 5},
        {"event_type": None, "data": {"step": "chunking", "status": "completed"}},
        {"event": "stage_started"},
        {"event": {"a": 1}},
        {"type": "stage_completion"},
        {"type": ["stage_chain_completion"]},
        {"stage_type": "new-stage"},
        {"stage_type": "new-stage", "success": True, "job_id": "j"},
        {"stage_type": 6, "success": True},
        {"status": "RETRY", "task_id": "t"},
        {"status": "success"},
        {"status": ["SUCCESS"]},
        {"step": None},
    ],
)
def test_no_marker_of_a_listed_value_is_unknown(payload: dict[str, Any]) -> None:
    event = parse(payload)

    assert type(event) is UnknownEvent
    assert (event.name, event.dialect) == ("unknown", "unknown")
    assert event.raw == payload


def test_an_unknown_event_keeps_what_can_be_told() -> None:
    event = parse(
        {
            "event_type": "task_cancelled",
            "timestamp": "2025-01-01T00:00:00Z",
            "data": {"task_id": "t-1", "status": "cancelled", "message": "bye", "metadata": {"document_id": "d-1"}},
        }
    )

    assert (event.task_id, event.document_id, event.status, event.message) == ("t-1", "d-1", "cancelled", "bye")
    assert event.data["status"] == "cancelled"
    assert parse({"stage_type": "new-stage", "success": True}).stage == "new-stage"


@pytest.mark.parametrize(
    ("payload", "missing"),
    [
        ({"event_type": "task_started"}, ["timestamp", "data"]),
        (
            {"event_type": "task_started", "timestamp": "2025-01-01T00:00:00", "data": {}},
            ["data.task_id", "data.status"],
        ),
        ({"event_type": "x", "data": {"step": "chunking"}}, ["timestamp", "data.task_id", "data.status"]),
        ({"step": "chunking"}, ["timestamp", "progress_percent", "task_id", "status"]),
        ({"status": "SUCCESS"}, ["task_id", "completed_at"]),
        ({"status": "FAILURE"}, ["task_id", "completed_at"]),
        ({"event": "stage_completed"}, ["stage"]),
        ({"event": "stage_completed", "stage": {}}, ["stage.type", "stage.status"]),
        ({"event": "pipeline_completed"}, ["pipeline"]),
        ({"event": "pipeline_completed", "pipeline": {}}, ["pipeline.success"]),
        ({"stage_type": "chunker"}, ["success"]),
        ({"type": "stage_chain_completion"}, ["success"]),
    ],
)
def test_a_marker_without_the_rest_lists_everything_that_is_missing(payload: Any, missing: list[str]) -> None:
    found = problems(payload)

    assert sorted(problem.split(" is missing; expected ")[0] for problem in found) == sorted(missing)


@pytest.mark.parametrize("wrong", [7, True, [], {}, "", None])
def test_required_fields_of_a_step_that_are_wrong(wrong: object) -> None:
    changed = {"task_id": wrong, "status": wrong, "timestamp": wrong, "progress_percent": "much"}

    found = problems({**STEP, **changed})

    assert len(found) == 4
    assert {problem.split(" is ")[0] for problem in found} == set(changed)


def test_problems_say_what_is_there_and_what_is_expected() -> None:
    found = problems(
        {**STEP, "task_id": 7, "status": "done", "progress_percent": {"a": 1}, "timestamp": "yesterday", "step": ["x"]}
    )

    assert set(found) == {
        "timestamp is 'yesterday'; expected an ISO 8601 time",
        "progress_percent is an object; expected a number from 0 to 100",
        "task_id is 7; expected a string that is not empty",
        "step is an array; expected a string",
        "status is 'done'; expected one of started, completed, failed",
    }


def test_what_is_shown_of_a_wrong_value_is_short() -> None:
    found = problems({**STEP, "timestamp": "x" * 100_000, "progress_percent": 10**400})

    assert max(len(problem) for problem in found) < 150
    assert any("a huge integer" in problem for problem in found)


@pytest.mark.parametrize("progress", [10**400, -(10**400), True, "80", None])
def test_progress_that_is_no_number_of_a_usable_size(progress: object) -> None:
    assert len(problems({**STEP, "progress_percent": progress})) == 1


@pytest.mark.parametrize(
    "step",
    ["task", "step", "stage", "pipeline", "chain", "unknown", "", "Chunking", "a.b", "a b", "ü", "x" * 65, "a\n"],
)
@pytest.mark.parametrize("status", ["started", "completed", "failed"])
def test_a_step_whose_name_cannot_be_part_of_an_events_name(step: str, status: str) -> None:
    event = parse({**STEP, "step": step, "status": status, "data": None})

    assert (event.name, event.step, event.status) == (f"step.{status}", step, status)


@pytest.mark.parametrize("step", ["x", "x" * 64, "my-step_2", "0", "tasks", "ingestor"])
def test_any_other_step_has_events_of_its_own(step: str) -> None:
    event = parse({**STEP, "step": step})

    assert (type(event), event.name, event.step) == (StepCompleted, f"{step}.completed", step)
    assert event.data["chunks_created"] == 89


def test_several_markers_have_an_order() -> None:
    flat = {**STEP, "event_type": "whatever"}
    ingest = {**bodies.payload("r2_ingest_success"), "step": None, "event_type": None, "event": None}

    assert parse(flat).dialect == "flat_step"
    assert parse(ingest).dialect == "ingest_result"


def test_a_step_of_null_in_an_envelope_is_no_step() -> None:
    sent = bodies.payload("task_completed")
    sent["data"]["step"] = None

    assert parse(sent).name == "task.completed"
