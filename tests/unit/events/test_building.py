"""A payload field that does not fit its type is None in the typed form; everything around it stays."""

from __future__ import annotations

import time
from typing import Any

import bodies
import pytest

from morag_client.events import types
from morag_client.events.building import build_event
from morag_client.events.payloads import ContentProcessingData
from morag_client.wire.parsing import parse_event


def step(name: str, **data: Any) -> Any:
    sent = {**bodies.payload("chunking_completed"), "step": name, "data": data}
    event = parse_event(bodies.as_body(sent))
    assert event.raw == sent
    return event


def repr_start(value: object) -> str:
    return repr(value)[:20]


@pytest.mark.parametrize("wrong", ["many", [], {}, 1.5, "9" * 5000], ids=repr_start)
def test_a_misfit_is_none_and_its_neighbours_stay(wrong: object) -> None:
    event = step("chunking", chunks_created=wrong, chunking_strategy="semantic", extra=[1])

    assert type(event) is types.ChunkingCompleted
    assert (event.data.chunks_created, event.data.chunking_strategy) == (None, "semantic")
    assert event.data["extra"] == [1]
    assert "chunks_created" not in event.data
    assert event.raw["data"]["chunks_created"] == wrong


def test_a_misfit_deep_inside_goes_alone() -> None:
    event = step("chunking", chunk_size_range={"min": "small", "max": 1024, "own": 1}, chunks_created=3)

    assert (event.data.chunk_size_range.min, event.data.chunk_size_range.max) == (None, 1024)
    assert event.data.chunk_size_range["own"] == 1
    assert event.data.chunks_created == 3


@pytest.mark.parametrize("topics", [[1], [1, 2], ["ok", 2, 3], "ml", {"a": 1}])
def test_a_list_with_wrong_elements_goes_as_a_whole_and_nothing_else(topics: object) -> None:
    event = step("content_processing", summary="s", detected_topics=topics, language="en")

    assert (event.data.summary, event.data.detected_topics, event.data.language) == ("s", None, "en")


def test_a_misfit_in_an_element_of_a_list_goes_alone() -> None:
    event = step(
        "graph_extraction",
        entities_extracted=1,
        top_entities=[{"name": "a", "mentions": "x"}, {"name": "b", "mentions": 2}],
    )

    assert [(entity.name, entity.mentions) for entity in event.data.top_entities] == [("a", None), ("b", 2)]


def test_elements_that_are_no_objects_take_their_list_with_them_only() -> None:
    event = step("graph_extraction", entities_extracted=1, top_entities=[{"name": "a"}, 5, "x"])

    assert (event.data.top_entities, event.data.entities_extracted) == (None, 1)


def test_several_misfits_at_once() -> None:
    event = step(
        "ingestion",
        embeddings_stored="x",
        facts_stored=[1],
        storage_summary={"qdrant_points": {}, "neo4j_nodes": 5},
        database_collection="docs",
        chunks_ingested=7,
    )

    assert (event.data.embeddings_stored, event.data.facts_stored) == (None, None)
    assert (event.data.storage_summary.qdrant_points, event.data.storage_summary.neo4j_nodes) == (None, 5)
    assert (event.data.database_collection, event.data.chunks_ingested) == ("docs", 7)


@pytest.mark.parametrize("kind", [{"str": 1, "int": 2}, {"int": [], "x": 1}, [], {}, 1.5])
def test_a_field_of_several_types(kind: object) -> None:
    sent = bodies.payload("r3_pipeline_completed")
    sent["stages"] = [{"type": kind, "status": "completed"}]
    event = parse_event(bodies.as_body(sent))

    assert isinstance(event, types.PipelineCompleted)
    assert event.data.stages is not None
    assert (event.data.stages[0].type, event.data.stages[0].status) == (None, "completed")
    assert event.data.stages_completed == 5


@pytest.mark.parametrize("huge", [10**400, -(10**400), 2**64], ids=repr_start)
def test_huge_integers_in_typed_fields(huge: int) -> None:
    event = step("content_processing", summary="s", content_length=huge, processing_time_seconds=huge)

    assert (event.data.summary, event.data.content_length) == ("s", huge)
    assert event.data.processing_time_seconds in (None, float(2**64))


def test_a_result_with_a_wrong_time_in_either_spelling() -> None:
    for key in ("processing_time", "processing_time_seconds"):
        sent = bodies.payload("task_completed")
        sent["data"]["result"] = {key: "long", "chunks_created": 3}
        event = parse_event(bodies.as_body(sent))

        assert isinstance(event, types.TaskCompleted)
        assert (event.result.processing_time_seconds, event.result.chunks_created) == (None, 3)


@pytest.mark.parametrize("moment", ["never", 10**400, [], "9999-12-31T23:59:59-10:00", {}], ids=repr_start)
def test_a_stages_time_that_is_none(moment: object) -> None:
    sent = bodies.payload("r3_stage_completed")
    sent["stage"]["start_time"] = moment
    event = parse_event(bodies.as_body(sent))

    assert isinstance(event, types.StageCompleted)
    assert (event.data.start_time, event.data.execution_time) == (None, 7.5)


@pytest.mark.parametrize("payload", [None, [], "text", 5, True])
def test_a_payload_that_is_no_object_is_an_empty_one(payload: object) -> None:
    sent = {**bodies.payload("chunking_completed"), "data": payload, "metadata": payload}
    event = parse_event(bodies.as_body(sent))

    assert isinstance(event, types.ChunkingCompleted)
    assert event.data == types.ChunkingData()
    assert event.metadata == types.TaskMetadata()
    assert event.raw == sent


def test_hostile_field_names_are_fields_like_any_other() -> None:
    data = {"get": 1, "model_dump": 2, "__class__": 3, "__dict__": 4, "model_fields": 5, "model_config": 6, "self": 7}
    event = step("chunking", **data, chunks_created=1)

    assert {key: event.data[key] for key in data} == data
    assert event.data.chunks_created == 1


def test_a_megabyte_of_misfits_is_no_way_to_keep_a_receiver_busy() -> None:
    bodies_of_one_megabyte = [
        {"step": "content_processing", "data": {"detected_topics": [1] * 400_000}},
        {"step": "graph_extraction", "data": {"top_entities": [{"mentions": "x"}] * 50_000}},
    ]
    for part in bodies_of_one_megabyte:
        body = bodies.as_body({**bodies.payload("chunking_completed"), **part})
        began = time.process_time()
        parse_event(body)
        assert time.process_time() - began < 5

    with pytest.raises(ValueError, match="1 validation error"):
        ContentProcessingData.model_validate({"detected_topics": [1, 2, 3]})


def test_what_was_given_is_not_changed() -> None:
    fields = {
        "name": "chunking.completed",
        "step": "chunking",
        "dialect": "flat_step",
        "raw": {},
        "data": {"chunks_created": "x", "chunk_size_range": {"min": []}},
        "metadata": 5,
    }
    build_event(fields)

    assert fields["data"] == {"chunks_created": "x", "chunk_size_range": {"min": []}}
    assert fields["metadata"] == 5


def test_events_are_frozen_and_equal_by_value() -> None:
    one, other = (parse_event(bodies.body("chunking_completed")) for _ in range(2))

    assert one == other
    with pytest.raises(ValueError, match="frozen"):
        one.name = "other"  # type: ignore[misc]
    with pytest.raises(ValueError, match="frozen"):
        one.data.chunks_created = 3  # type: ignore[union-attr]
    assert "raw" not in repr(one)
