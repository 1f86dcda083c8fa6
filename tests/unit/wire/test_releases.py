"""The bodies that MoRAG's releases really send, in all eight dialects, become events of one shape."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import bodies
import pytest

from morag_client.events import types
from morag_client.wire.parsing import parse_event
from morag_client.wire.validation import validate_webhook

EXPECTED: dict[str, tuple[str, type[types.Event], str]] = {
    "r1_task_started": ("envelope", types.TaskStarted, "task.started"),
    "r1_task_progress": ("envelope", types.TaskProgress, "task.progress"),
    "r1_task_completed": ("envelope", types.TaskCompleted, "task.completed"),
    "r1_task_failed": ("envelope", types.TaskFailed, "task.failed"),
    "enveloped_step_completed": ("enveloped_step", types.ChunkingCompleted, "chunking.completed"),
    "enveloped_step_by_name": (
        "enveloped_step",
        types.MarkdownConversionCompleted,
        "markdown_conversion.completed",
    ),
    "enveloped_step_failed": ("enveloped_step", types.ChunkingFailed, "chunking.failed"),
    "r2_markdown_conversion_started": (
        "flat_step",
        types.MarkdownConversionStarted,
        "markdown_conversion.started",
    ),
    "r2_metadata_extraction_completed": (
        "flat_step",
        types.MetadataExtractionCompleted,
        "metadata_extraction.completed",
    ),
    "r2_ingestion_completed": ("flat_step", types.IngestionCompleted, "ingestion.completed"),
    "r2_processing_failed": ("flat_step", types.StepFailed, "processing.failed"),
    "r3_database_ingestion_completed": ("flat_step", types.StepCompleted, "database_ingestion.completed"),
    "r2_ingest_success": ("ingest_result", types.TaskCompleted, "task.completed"),
    "r2_ingest_success_null": ("ingest_result", types.TaskCompleted, "task.completed"),
    "r3_ingest_failure": ("ingest_result", types.TaskFailed, "task.failed"),
    "r3_stage_completed": ("stage_completed", types.StageCompleted, "stage.chunker.completed"),
    "r3_stage_numbered": ("stage_completed", types.StageCompleted, "stage.fact-generator.completed"),
    "r3_stage_failed": ("stage_completed", types.StageFailed, "stage.fact-generator.failed"),
    "r3_stage_skipped": ("stage_completed", types.StageSkipped, "stage.markdown-optimizer.skipped"),
    "r3_pipeline_completed": ("pipeline_completed", types.PipelineCompleted, "pipeline.completed"),
    "r3_pipeline_failed": ("pipeline_completed", types.PipelineFailed, "pipeline.failed"),
    "r3_stage_result": ("stage_result", types.StageCompleted, "stage.markdown-conversion.completed"),
    "r3_stage_result_no_job": ("stage_result", types.StageFailed, "stage.ingestor.failed"),
    "r3_stage_result_skipped": ("stage_result", types.StageSkipped, "stage.chunker.skipped"),
    "r3_stage_chain_completed": ("stage_chain", types.ChainCompleted, "chain.completed"),
    "r3_stage_chain_failed": ("stage_chain", types.ChainFailed, "chain.failed"),
}


def event_of(name: str, **changes: Any) -> types.Event:
    return parse_event(bodies.as_body({**bodies.payload(name), **changes}))


BY_WEBHOOK = set(types.Dialect.__args__) - {"unknown", "answer"}


def test_every_release_body_is_expected() -> None:
    assert sorted(EXPECTED) == bodies.RELEASES
    assert {dialect for dialect, _, _ in EXPECTED.values()} == BY_WEBHOOK


@pytest.mark.parametrize("name", bodies.RELEASES)
def test_dialect_class_and_name(name: str) -> None:
    event = event_of(name)

    assert (event.dialect, type(event), event.name) == EXPECTED[name]
    assert event.raw == bodies.payload(name)


@pytest.mark.parametrize("name", bodies.RELEASES)
def test_what_releases_send_is_valid(name: str) -> None:
    assert validate_webhook(bodies.payload(name)) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("r1_task_progress", datetime(2025, 6, 3, 7, 34, 47, 123456, UTC)),  # naive
        ("r1_task_completed", datetime(2025, 6, 3, 7, 35, 1, 500000, UTC)),
        ("r2_ingestion_completed", datetime(2025, 8, 12, 9, 15, 2, 417513, UTC)),  # +00:00
        ("enveloped_step_completed", datetime(2024, 1, 15, 10, 34, tzinfo=UTC)),  # Z
        ("r2_ingest_success", None),  # a constant of the source, no time
        ("r3_ingest_failure", None),
        ("r3_stage_completed", datetime(2025, 11, 2, 10, 0, 9, 500000, UTC)),  # the stage's own end
        ("r3_stage_skipped", datetime(2025, 11, 2, 10, 0, 10, 250000, UTC)),  # no end: the body's time
        ("r3_pipeline_completed", datetime(2025, 11, 2, 10, 5, 0, 750000, UTC)),
        ("r3_stage_result", datetime(2025, 11, 2, 10, 0, tzinfo=UTC)),
        ("r3_stage_chain_completed", datetime(2025, 11, 2, 10, 5, 45, tzinfo=UTC)),
    ],
)
def test_times_are_aware_and_in_utc(name: str, expected: datetime | None) -> None:
    event = event_of(name)

    assert event.occurred_at == expected
    assert event.occurred_at is None or event.occurred_at.tzinfo is UTC


def test_a_time_of_another_zone_is_turned_into_utc() -> None:
    event = event_of("r2_ingestion_completed", timestamp="2025-08-12T11:15:02+02:00")

    assert event.occurred_at == datetime(2025, 8, 12, 9, 15, 2, tzinfo=UTC)
    assert event.occurred_at.utcoffset() is not None
    assert event.occurred_at.hour == 9


@pytest.mark.parametrize(
    ("sent", "percent"),
    [(0, 0.0), (0.07, 7.0), (0.57, 57.0), (1, 100.0), (1.0, 100.0), (25, 25.0), (-1, 0.0), (1000, 100.0), (None, None)],
)
def test_progress_of_a_task_is_in_percent(sent: float | None, percent: float | None) -> None:
    body = bodies.payload("r1_task_progress")
    body["data"]["progress"] = sent

    assert parse_event(bodies.as_body(body)).progress == percent


@pytest.mark.parametrize(("sent", "percent"), [(0.5, 0.5), (1, 1.0), (80, 80.0), (-3, 0.0), (250, 100.0)])
def test_progress_of_a_step_is_percent_already(sent: float, percent: float) -> None:
    assert event_of("r2_ingestion_completed", progress_percent=sent).progress == percent


def test_r2_sends_explicit_nulls() -> None:
    event = event_of("r2_markdown_conversion_started")

    assert event.raw["data"] is None
    assert event.raw["error_message"] is None
    assert (event.data, event.error, event.error_code, event.error_details) == (types.Payload(), None, None, None)
    assert event_of("r2_processing_failed").document_id is None


def test_r2_names_every_failure_processing_and_falls_back_to_zero() -> None:
    event = event_of("r2_processing_failed")

    assert isinstance(event, types.StepFailed)
    assert (event.step, event.status, event.progress) == ("processing", "failed", 0.0)
    assert event.error == "Embedding service unavailable"
    assert event.data.error_code is None


def test_r2_metadata_has_float_epochs_which_are_kept_as_sent() -> None:
    event = event_of("r2_metadata_extraction_completed")

    assert isinstance(event, types.MetadataExtractionCompleted)
    assert event.data.metadata is not None
    assert event.data.metadata.title == "report"
    assert event.data.metadata["created_at"] == 1754990000.123
    assert event.data.metadata.get("modified_at") == 1754990001.5
    assert "created_at" in event.data.metadata


def test_r2_ingestion_has_other_fields_than_the_guide() -> None:
    event = event_of("r2_ingestion_completed")

    assert isinstance(event, types.IngestionCompleted)
    assert (event.data.chunks_processed, event.data.total_text_length) == (12, 52428)
    assert (event.data.database_collection, event.data.processing_time_seconds) == ("documents_en", 3.25)
    assert event.data.chunks_ingested is None
    assert "chunks_ingested" not in event.data


def test_an_ingest_task_completes_with_its_result() -> None:
    event = event_of("r2_ingest_success")

    assert isinstance(event, types.TaskCompleted)
    assert (event.task_id, event.document_id, event.status, event.progress) == ("9b1e", "doc-3", "completed", 100.0)
    assert (event.result.chunks_processed, event.result.databases_used) == (12, ["qdrant"])
    assert event.result.metadata == {"language": "de"}
    assert event.metadata.language == "de"
    assert event.error is None


def test_an_ingest_task_without_a_result_has_an_empty_one() -> None:
    event = event_of("r2_ingest_success_null")

    assert isinstance(event, types.TaskCompleted)
    assert event.result == types.TaskResult()


def test_an_ingest_task_fails_with_its_error() -> None:
    event = event_of("r3_ingest_failure")

    assert (event.status, event.error, event.progress) == ("failed", "Qdrant is away", None)
    assert event.error_details == types.ErrorDetails()


@pytest.mark.parametrize(
    ("kind", "stage"),
    [
        (1, "markdown-conversion"),
        (2, "markdown-optimizer"),
        (3, "chunker"),
        (4, "fact-generator"),
        (5, "ingestor"),
        ("markdown-conversion", "markdown-conversion"),
        ("ingestor", "ingestor"),
    ],
)
def test_a_stage_is_told_by_its_word_or_its_number(kind: object, stage: str) -> None:
    body = bodies.payload("r3_stage_completed")
    body["stage"]["type"] = kind

    event = parse_event(bodies.as_body(body))
    result = event_of("r3_stage_result", stage_type=kind)

    assert (event.name, event.stage) == (f"stage.{stage}.completed", stage)
    assert (result.name, result.stage) == (f"stage.{stage}.completed", stage)


@pytest.mark.parametrize("kind", [0, 6, -1, 10**400, "", "1", "Chunker", "new-stage"])
def test_a_stage_that_nobody_knows_is_unknown(kind: object) -> None:
    body = bodies.payload("r3_stage_completed")
    body["stage"]["type"] = kind

    event = parse_event(bodies.as_body(body))

    assert (type(event), event.name) == (types.UnknownEvent, "unknown")
    assert event.dialect == "stage_completed"


@pytest.mark.parametrize("status", ["pending", "running", "exploded"])
def test_a_stage_in_another_state_is_unknown(status: str) -> None:
    body = bodies.payload("r3_stage_completed")
    body["stage"]["status"] = status

    event = parse_event(bodies.as_body(body))

    assert (event.name, event.stage, event.status) == ("unknown", "chunker", status)


def test_a_stage_has_its_files_context_and_times() -> None:
    event = event_of("r3_stage_completed")

    assert isinstance(event, types.StageCompleted)
    assert event.data.execution_time == 7.5
    assert event.data.start_time == datetime(2025, 11, 2, 10, 0, 2, tzinfo=UTC)
    assert event.data.end_time == datetime(2025, 11, 2, 10, 0, 9, 500000, UTC)
    assert (event.data.input_files, event.data.output_files) == (["in/report.md"], ["out/report.chunks.json"])
    assert (event.data.source_path, event.data.output_dir) == ("in/report.pdf", "out")
    assert (event.data.total_stages_completed, event.data.total_stages_failed) == (3, 0)
    assert event.metadata["config_used"] == {"chunk_size": 4000}
    assert event.task_id is None


def test_a_failed_stage_says_why() -> None:
    assert event_of("r3_stage_failed").error == "model overloaded"
    assert event_of("r3_stage_result_no_job").error == "no database"


@pytest.mark.parametrize(
    ("success", "status", "name"),
    [
        (True, "completed", "stage.chunker.completed"),
        (False, "failed", "stage.chunker.failed"),
        (False, "skipped", "stage.chunker.skipped"),
        (True, "skipped", "stage.chunker.skipped"),
        (False, "running", "unknown"),
        (False, "pending", "unknown"),
        (True, None, "stage.chunker.completed"),
        (False, None, "stage.chunker.failed"),
        (True, ["odd"], "stage.chunker.completed"),
    ],
)
def test_the_stage_api_says_success_and_status(success: bool, status: object, name: str) -> None:
    assert event_of("r3_stage_result_skipped", success=success, status=status).name == name


def test_the_stage_api_has_a_job_id_or_none() -> None:
    assert event_of("r3_stage_result").task_id == "job-7"
    assert event_of("r3_stage_result_no_job").task_id is None
    data = event_of("r3_stage_result").data
    assert isinstance(data, types.StageData)
    assert (data.execution_time, data.output_files) == (12.5, [{"filename": "report.md", "size": 2048}])


def test_a_pipeline_has_its_stages() -> None:
    event = event_of("r3_pipeline_completed")

    assert isinstance(event, types.PipelineCompleted)
    assert (event.progress, event.error, event.task_id) == (100.0, None, None)
    assert (event.data.stages_completed, event.data.stages_failed, event.data.stages_skipped) == (5, 0, 0)
    assert event.data.total_execution_time == 42.5
    assert (event.data.source_path, event.data.intermediate_files) == ("in/report.pdf", ["out/report.md"])
    assert event.data.stages is not None
    assert [(stage.type, stage.status, stage.execution_time) for stage in event.data.stages] == [
        ("markdown-conversion", "completed", 7.5),
        (3, "completed", 1.0),
    ]
    assert event_of("r3_pipeline_failed").error == "stage fact-generator failed"


def test_a_chain_has_its_counts() -> None:
    event = event_of("r3_stage_chain_completed")

    assert isinstance(event, types.ChainCompleted)
    assert (event.data.stages_executed, event.data.stages_successful, event.data.stages_failed) == (3, 3, 0)
    assert (event.data.total_execution_time, event.progress) == (45.8, 100.0)
    assert event_of("r3_stage_chain_failed").progress is None


@pytest.mark.parametrize("event_type", ["step_completed", "chunking", "task_completed", "anything", "", 5, ["x"]])
def test_a_step_in_an_envelope_is_told_by_its_step_and_status(event_type: object) -> None:
    event = event_of("enveloped_step_completed", event_type=event_type)

    assert (event.dialect, event.name) == ("enveloped_step", "chunking.completed")


def test_an_enveloped_step_that_failed() -> None:
    event = event_of("enveloped_step_failed")

    assert isinstance(event, types.ChunkingFailed)
    assert (event.error, event.error_code, event.data.error_code) == ("no text", "EMPTY", "EMPTY")
