"""Every JSON example of MoRAG's guide becomes a typed event with every field that the guide shows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import bodies
import pytest

from morag_client.events import types
from morag_client.events.payloads import Payload
from morag_client.wire.parsing import parse_event
from morag_client.wire.validation import validate_webhook

EXPECTED = {
    "task_started": (types.TaskStarted, "task.started", 0.0),
    "task_progress": (types.TaskProgress, "task.progress", 50.0),
    "task_completed": (types.TaskCompleted, "task.completed", 100.0),
    "task_failed": (types.TaskFailed, "task.failed", None),
    "markdown_conversion_started": (types.MarkdownConversionStarted, "markdown_conversion.started", 0.0),
    "markdown_conversion_completed": (types.MarkdownConversionCompleted, "markdown_conversion.completed", 25.0),
    "markdown_conversion_failed": (types.MarkdownConversionFailed, "markdown_conversion.failed", 10.0),
    "metadata_extraction_completed": (types.MetadataExtractionCompleted, "metadata_extraction.completed", 40.0),
    "content_processing_completed": (types.ContentProcessingCompleted, "content_processing.completed", 70.0),
    "chunking_completed": (types.ChunkingCompleted, "chunking.completed", 80.0),
    "graph_extraction_completed": (types.GraphExtractionCompleted, "graph_extraction.completed", 90.0),
    "ingestion_completed": (types.IngestionCompleted, "ingestion.completed", 100.0),
}


def test_all_twelve_examples_are_here() -> None:
    assert sorted(EXPECTED) == bodies.GUIDE


@pytest.mark.parametrize("name", bodies.GUIDE)
def test_class_name_and_progress(name: str) -> None:
    event = parse_event(bodies.body(name))

    assert (type(event), event.name, event.progress) == EXPECTED[name]


@pytest.mark.parametrize("name", bodies.GUIDE)
def test_common_fields(name: str) -> None:
    event = parse_event(bodies.body(name))
    sent = bodies.payload(name)
    inner = sent.get("data", {}) if "event_type" in sent else sent

    assert event.task_id == "task-abc-123-def"
    assert event.document_id == (None if name == "task_progress" else "my-document-456")
    assert event.status == inner["status"]
    assert event.step == inner.get("step")
    assert event.message == inner.get("message")
    assert event.error == (inner.get("error") or inner.get("error_message"))
    assert event.error_code == ("UNSUPPORTED_FORMAT" if inner["status"] == "failed" else None)
    assert event.occurred_at == datetime.fromisoformat(sent["timestamp"])
    assert event.occurred_at.tzinfo is UTC
    assert event.stage is None
    assert event.dialect == ("envelope" if "event_type" in sent else "flat_step")
    assert event.source == "webhook"
    assert event.raw == sent


@pytest.mark.parametrize("name", bodies.GUIDE)
def test_every_field_that_the_guide_shows_has_a_typed_attribute_of_its_value(name: str) -> None:
    event = parse_event(bodies.body(name))
    sent = bodies.payload(name)
    if "event_type" in sent:
        for field in ("metadata", "result", "error_details"):
            shown(getattr(event, field), sent["data"].get(field, {}))
    else:
        shown(event.data, sent.get("data", {}))


def shown(typed: Any, sent: Any) -> None:
    if isinstance(sent, dict):
        for key, value in sent.items():
            assert isinstance(typed, Payload)
            assert key in type(typed).model_fields, f"{type(typed).__name__} has no attribute {key}"
            assert key in typed
            shown(getattr(typed, key), value)
            shown(typed[key], value)
            shown(typed.get(key), value)
    elif isinstance(sent, list):
        assert len(typed) == len(sent)
        for one, other in zip(typed, sent, strict=True):
            shown(one, other)
    else:
        assert typed == sent


@pytest.mark.parametrize("name", bodies.GUIDE)
def test_the_guide_is_valid_by_its_own_rules(name: str) -> None:
    assert validate_webhook(bodies.payload(name)) == []
    assert validate_webhook(bodies.body(name)) == []


def test_typed_fields_read_naturally() -> None:
    event = parse_event(bodies.body("ingestion_completed"))

    assert isinstance(event, types.IngestionCompleted)
    assert event.data.storage_summary is not None
    assert event.data.storage_summary.qdrant_points == 156
    assert event.data["storage_summary"]["neo4j_nodes"] == 234
    assert event.data.processing_time_seconds == 45.2


def test_a_task_result_takes_both_spellings_of_its_time() -> None:
    # given the short spelling of the guide's table and integration tests
    sent = bodies.payload("task_completed")
    sent["data"]["result"] = {"chunks_created": 25, "processing_time": 45.2}

    event = parse_event(bodies.as_body(sent))

    assert isinstance(event, types.TaskCompleted)
    assert event.result.processing_time_seconds == 45.2
    assert event.result.chunks_created == 25
