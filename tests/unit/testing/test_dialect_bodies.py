"""What is said in each dialect: read back by the receiver's own parser, and field by field against MoRAG's shapes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from morag_client.errors import ConfigurationError
from morag_client.testing.moments import Moment
from morag_client.testing.pipeline.document import Document
from morag_client.testing.pipeline.running import Plan, run
from morag_client.testing.pipeline.steps import Work
from morag_client.testing.wording import SENDABLE, failing_step, say
from morag_client.wire.parsing import parse_event
from morag_client.wire.validation import validate_webhook

NOW = datetime(2025, 11, 3, 10, 30, 0, 123456, tzinfo=UTC)
TEXT = "# Tides\n\nThe tide is the rise of the sea. The Moon and the Sun cause the tide.\n"
STAGES = ["markdown-conversion", "markdown-optimizer", "chunker", "fact-generator", "ingestor"]


def moments(**plan: Any) -> list[Moment]:
    ticks = iter(range(10_000))
    document = Document("tides.md", TEXT.encode(), metadata={"document_id": "doc-1", "source_type": "document"})
    return list(run(Work(document, "task-1"), clock=lambda: float(next(ticks)), plan=Plan(**plan)))


def told(dialect: str | None, **plan: Any) -> list[Any]:
    return [words for moment in moments(**plan) if (words := say(moment, dialect=dialect, now=NOW)) is not None]


PLANS = [{}, {"progress_events": True}, {"fail_at": "markdown_conversion"}, {"fail_at": "ingestion"}]


@pytest.mark.parametrize("plan", PLANS, ids=str)
@pytest.mark.parametrize("dialect", [None, *SENDABLE])
def test_the_receiver_reads_what_was_meant(dialect: str | None, plan: dict[str, Any]) -> None:
    for words in told(dialect, **plan):
        body = json.dumps(words.body)

        event = parse_event(body)

        assert (event.name, event.dialect) == (words.event, words.dialect)
        assert validate_webhook(body) == []


@pytest.mark.parametrize(
    ("dialect", "events"),
    [
        ("envelope", ["task.started", "task.completed"]),
        ("ingest_result", ["task.completed"]),
        ("stage_completed", [f"stage.{stage}.completed" for stage in STAGES]),
        ("pipeline_completed", ["pipeline.completed"]),
        ("stage_result", [f"stage.{stage}.completed" for stage in STAGES]),
        ("stage_chain", ["chain.completed"]),
    ],
)
def test_each_dialect_says_what_it_has_words_for(dialect: str, events: list[str]) -> None:
    assert [words.event for words in told(dialect)] == events
    assert {words.dialect for words in told(dialect)} == {dialect}


@pytest.mark.parametrize("dialect", [None, "flat_step", "enveloped_step"])
def test_the_step_dialects_say_all_fourteen(dialect: str | None) -> None:
    words = told(dialect)

    assert len(words) == 14
    assert [word.dialect for word in words] == ["envelope", *[dialect or "flat_step"] * 12, "envelope"]


def test_a_flat_step_sends_nulls_and_an_offset() -> None:
    assert told("flat_step")[1].body == {
        "task_id": "task-1",
        "document_id": "doc-1",
        "step": "markdown_conversion",
        "status": "started",
        "progress_percent": 0.0,
        "timestamp": "2025-11-03T10:30:00.123456+00:00",
        "data": None,
        "error_message": None,
    }


def test_an_enveloped_step_leaves_out_what_there_is_not() -> None:
    assert told("enveloped_step")[1].body == {
        "event_type": "step_started",
        "timestamp": "2025-11-03T10:30:00.123456Z",
        "data": {
            "task_id": "task-1",
            "document_id": "doc-1",
            "step": "markdown_conversion",
            "status": "started",
            "progress_percent": 0.0,
        },
    }


def test_an_envelope_is_the_guides() -> None:
    assert told("envelope")[0].body == {
        "event_type": "task_started",
        "timestamp": "2025-11-03T10:30:00.123456Z",
        "data": {
            "task_id": "task-1",
            "status": "started",
            "message": "Task processing started",
            "metadata": {"document_id": "doc-1", "source_type": "document"},
        },
    }


def test_an_ingest_result_has_the_time_that_is_none() -> None:
    (success,), (failure,) = told("ingest_result"), told("ingest_result", fail_at="chunking")

    assert success.body["completed_at"] == failure.body["completed_at"] == "2024-01-01T12:05:30"
    assert success.body["result"]["chunks_processed"] == 1
    assert success.body["result"]["total_text_length"] == len(TEXT)
    assert failure.body["status"] == "FAILURE"
    assert failure.body["result"] is None
    assert failure.body["error"] == "chunking was told to fail"


def test_a_stage_has_no_task_id_and_naive_times() -> None:
    chunker = told("stage_completed")[2].body

    assert "task_id" not in json.dumps([*chunker, *chunker["stage"], *chunker["metadata"]])
    assert chunker["stage"]["end_time"] == "2025-11-03T10:30:00.123456"
    assert chunker["stage"]["start_time"] < chunker["stage"]["end_time"]
    assert chunker["context"]["total_stages_completed"] == 3
    assert chunker["files"]["output_files"] == ["output/task-1/tides.chunks.json"]


def test_a_failed_stage_is_still_a_completed_event() -> None:
    *_, failed = told("stage_completed", fail_at="chunking")

    assert failed.body["event"] == "stage_completed"
    assert failed.body["stage"]["status"] == "failed"
    assert failed.body["context"]["total_stages_failed"] == 1
    assert failed.body["files"]["output_files"] == []


def test_the_pipeline_counts_its_stages() -> None:
    (done,), (failed,) = told("pipeline_completed"), told("pipeline_completed", fail_at="graph_extraction")

    assert done.body["pipeline"]["stages_completed"] == len(done.body["stages"]) == 5
    assert [stage["type"] for stage in done.body["stages"]] == STAGES
    assert failed.body["pipeline"]["success"] is False
    assert (failed.body["pipeline"]["stages_completed"], failed.body["pipeline"]["stages_failed"]) == (3, 1)
    assert len(failed.body["context"]["intermediate_files"]) == 3


def test_a_chain_has_no_id_of_any_kind() -> None:
    (chain,) = told("stage_chain", fail_at="ingestion")

    assert chain.body["stages_executed"] == 5
    assert (chain.body["stages_successful"], chain.body["stages_failed"]) == (4, 1)
    assert "task-1" not in json.dumps(chain.body)


def test_a_stage_result_carries_the_job() -> None:
    first = told("stage_result")[0].body

    assert (first["job_id"], first["stage_type"], first["success"]) == ("task-1", "markdown-conversion", True)


def test_only_what_is_sent_can_be_chosen() -> None:
    with pytest.raises(ConfigurationError, match="envelope, enveloped_step, flat_step"):
        say(moments()[0], dialect="unknown", now=NOW)


@pytest.mark.parametrize(
    ("name", "dialect", "step"),
    [
        ("chunking", None, "chunking"),
        ("metadata_extraction", "enveloped_step", "metadata_extraction"),
        ("chunker", "stage_completed", "chunking"),
        ("ingestion", "stage_chain", "ingestion"),
    ],
)
def test_what_can_fail(name: str, dialect: str | None, step: str) -> None:
    assert failing_step(name, dialect=dialect) == step


@pytest.mark.parametrize(
    ("name", "dialect"), [("chunkin", None), ("chunker", "flat_step"), ("metadata_extraction", "stage_result")]
)
def test_what_cannot_fail_is_refused_with_the_choices(name: str, dialect: str | None) -> None:
    with pytest.raises(ConfigurationError, match="choose one of markdown_conversion"):
        failing_step(name, dialect=dialect)
