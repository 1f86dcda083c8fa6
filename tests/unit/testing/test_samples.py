"""Samples of events, as handlers get them and as MoRAG sends them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import receiving

from morag_client import (
    ChunkingCompleted,
    ConfigurationError,
    Event,
    StageCompleted,
    StepCompleted,
    TaskCompleted,
    TaskEvent,
    parse_event,
    validate_webhook,
    verify_signature,
)
from morag_client.events.catalog import KNOWN, event_class
from morag_client.testing import samples
from morag_client.testing.sampling.bodies import UNSENT
from morag_client.testing.sampling.placing import places
from morag_client.wire.decoding import decode_object

SENT = [name for name in KNOWN if name not in UNSENT]


@pytest.mark.parametrize("name", KNOWN)
def test_there_is_a_sample_of_every_event(name: str) -> None:
    event = samples.event(name)

    assert (event.name, type(event)) == (name, event_class(name))


@pytest.mark.parametrize("name", SENT)
def test_a_sample_is_the_event_of_a_valid_body(name: str) -> None:
    body = samples.body(name)

    assert parse_event(body) == samples.event(name)
    if name != "unknown":
        assert validate_webhook(decode_object(body)) == []


@pytest.mark.parametrize("name", KNOWN)
def test_every_field_has_its_place(name: str) -> None:
    for field in places(name) if name != "unknown" else ():
        sample = samples.event(name)
        value = _of_the_same_kind(sample, places(name)[field].attribute)
        event = samples.event(name, **{field: value})

        assert _read(event, places(name)[field].attribute) is not None, field


def _of_the_same_kind(event: Event, attribute: str) -> object:
    """A value that fits: what stands there, or the first of all sorts that does."""
    found = _read(event, attribute)
    if found is not None:
        return found
    name = attribute.rpartition(".")[2]
    for value in ("2025-01-01T12:00:00", 3, ["a"], [{}], {}):
        try:
            samples.event(event.name, **{name: value})
        except ConfigurationError:
            continue
        return value
    raise AssertionError(f"nothing fits {attribute}")


def _read(event: Event, attribute: str) -> object:
    found: object = event
    for part in attribute.split("."):
        found = getattr(found, part, None)
    return found


def test_fields_go_where_they_belong() -> None:
    event = samples.event(
        "chunking.completed", chunks_created=3, task_id="t-1", document_id="report", progress=50, correlation={"a": "b"}
    )

    assert event.data.chunks_created == 3
    assert (event.task_id, event.document_id, event.progress) == ("t-1", "report", 50.0)
    assert event.correlation == {"a": "b"}
    assert event.raw["data"]["chunks_created"] == 3
    assert event.data.chunking_strategy == samples.event("chunking.completed").data.chunking_strategy


def test_fields_of_a_task() -> None:
    completed = samples.event(TaskCompleted, embeddings_stored=9, progress=99, document_id="d", collection_name="c")
    at = datetime(2026, 2, 3, 4, 5, tzinfo=UTC)
    failed = samples.event("task_failed", error="no disk", error_code="FULL", step="chunking", occurred_at=at)

    assert completed.result.embeddings_stored == 9
    assert (completed.progress, completed.document_id, completed.metadata.collection_name) == (99.0, "d", "c")
    assert (failed.error, failed.error_code, failed.error_details.step) == ("no disk", "FULL", "chunking")
    assert failed.occurred_at == at


def test_a_whole_payload() -> None:
    event = samples.event("ingestion.completed", data={"chunks_ingested": 2})

    assert (event.data.chunks_ingested, event.data.embeddings_stored) == (2, None)


def test_classes_of_several_events() -> None:
    ocr = samples.event(StepCompleted, step="ocr", pages=4)
    stage = samples.event(StageCompleted, stage="fact-generator", output_files=["facts.json"])

    assert (ocr.name, ocr.data["pages"]) == ("ocr.completed", 4)
    assert (stage.name, stage.data.output_files) == ("stage.fact-generator.completed", ["facts.json"])


def test_what_only_a_reconciling_client_tells() -> None:
    lost = samples.event("task.lost", task_id="t", message="silent for 7 days")

    assert (lost.task_id, lost.message, lost.source) == ("t", "silent for 7 days", "reconcile")
    with pytest.raises(ConfigurationError, match="no webhook tells of task"):
        samples.body("task.lost")


@pytest.mark.parametrize(
    ("kind", "fields", "said"),
    [
        ("chunkin.completed", {}, "did you mean 'chunking.completed'"),
        ("*.completed", {}, "there is no event"),
        ("chunking.completed", {"chunk_created": 3}, "did you mean 'chunks_created'"),
        ("task.completed", {"taskid": "3"}, "did you mean 'task_id'"),
        ("chunking.completed", {"chunks_created": "many"}, "does not fit chunking.completed"),
        (StepCompleted, {}, "say which"),
        (StageCompleted, {"stage": "chunking"}, "it is one of .*chunker"),
        (TaskEvent, {}, "choose one of .*TaskCompleted"),
        (Event, {}, "choose one of"),
    ],
)
def test_what_cannot_be_is_told_with_the_nearest(kind: str, fields: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        samples.event(kind, **fields)


def test_samples_do_not_change_each_other() -> None:
    samples.event("chunking.completed", chunk_size_range={"min": 1, "max": 2}).raw["data"].clear()

    assert samples.event(ChunkingCompleted).data.chunks_created


async def test_a_signed_delivery_is_taken(tmp_path) -> None:
    delivery = samples.delivery("chunking.completed", secret="s", chunks_created=3)

    verify_signature(delivery.body, delivery.header("X-MoRAG-Signature"), ["s"])
    async with receiving.working(tmp_path, secrets="s") as receiver:
        receipt = await receiver.receive(delivery)
    assert receipt.event.data.chunks_created == 3
    assert datetime.now(UTC) - receipt.event.occurred_at > timedelta(days=1)
