"""Ids: the body's own, then its metadata's, then those of the URL it was posted to."""

from __future__ import annotations

from typing import Any

import bodies
import pytest

from morag_client.wire.parsing import parse_event, read_payload

URL = "https://app.example/webhook?task_id=from-url&document_id=doc-from-url"


def parse(payload: Any, url: str | None = URL) -> Any:
    return parse_event(bodies.as_body(payload), url=url)


@pytest.mark.parametrize(
    "name", ["task_started", "chunking_completed", "enveloped_step_completed", "r2_ingest_success"]
)
def test_the_bodys_ids_come_first(name: str) -> None:
    event = parse(bodies.payload(name))

    assert event.task_id == parse(bodies.payload(name), url=None).task_id == read_payload(event.raw).stated_task_id
    assert "from-url" not in (event.task_id, event.document_id)


def test_the_envelopes_ids_are_inside_and_the_others_outside() -> None:
    step = {**bodies.payload("chunking_completed"), "data": {"task_id": "inner", "document_id": "inner"}}
    envelope = {**bodies.payload("task_started"), "task_id": "outer", "document_id": "outer"}

    assert (parse(step).task_id, parse(step).document_id) == ("task-abc-123-def", "my-document-456")
    assert (
        read_payload(parse(step).raw).stated_task_id
        == read_payload(parse(envelope).raw).stated_task_id
        == "task-abc-123-def"
    )
    assert parse(envelope).task_id == "task-abc-123-def"


def test_metadata_is_asked_next() -> None:
    sent = bodies.payload("chunking_completed")
    del sent["document_id"]

    assert parse({**sent, "metadata": {"document_id": "outer"}}).document_id == "outer"
    assert parse({**sent, "data": {"metadata": {"document_id": "inner"}}}).document_id == "inner"
    assert parse(bodies.payload("enveloped_step_by_name")).document_id == "doc-7"
    assert parse(bodies.payload("r1_task_completed")).document_id == "doc-1"


def test_metadata_inside_an_ingest_result_is_asked() -> None:
    sent = {**bodies.payload("r2_ingest_success_null"), "result": {"metadata": {"document_id": "d"}}}

    assert parse(sent).document_id == "d"


def test_metadata_can_name_the_task_of_a_stage() -> None:
    sent = {**bodies.payload("r3_stage_completed"), "metadata": {"task_id": "t-9", "document_id": "d-9"}}
    event = parse(sent)

    assert (event.task_id, event.document_id, read_payload(event.raw).stated_task_id) == ("t-9", "d-9", "t-9")


def test_the_job_id_of_the_stage_api_goes_before_metadata() -> None:
    event = parse({**bodies.payload("r3_stage_result"), "metadata": {"task_id": "t-9"}})

    assert event.task_id == read_payload(event.raw).stated_task_id == "job-7"


@pytest.mark.parametrize("name", ["r3_stage_completed", "r3_pipeline_completed", "r3_stage_chain_completed"])
def test_the_url_is_asked_last_and_not_for_ownership(name: str) -> None:
    event = parse(bodies.payload(name))

    assert (event.task_id, event.document_id) == ("from-url", "doc-from-url")
    assert read_payload(event.raw).stated_task_id is None


def test_a_job_id_of_null_leaves_it_to_the_url() -> None:
    assert parse(bodies.payload("r3_stage_result_no_job")).task_id == "from-url"


@pytest.mark.parametrize("wrong", [None, "", 7, ["x"], {}])
def test_an_id_that_is_no_string_is_none(wrong: object) -> None:
    sent = {**bodies.payload("chunking_completed"), "document_id": wrong}

    assert parse(sent).document_id == "doc-from-url"
    assert parse(sent, url=None).document_id is None


@pytest.mark.parametrize(
    ("url", "task_id"),
    [
        ("/webhook?task_id=a&task_id=b", "a"),
        ("/webhook?task_id=", None),
        ("/webhook?x=1#?task_id=a", None),
        ("/webhook?task_id=a#task_id=b", "a"),
        ("http://[/?task_id=a", "a"),
        ("?task_id=a%20b%C3%BC", "a bü"),
        ("?task_id=%ff", "\ufffd"),
        ("?task_id=\udc80x", "?x"),
        ("?" + "&".join(f"a{i}=1" for i in range(200)) + "&task_id=a", None),
        ("task_id=a", None),
        ("", None),
    ],
)
def test_hostile_and_odd_urls(url: str, task_id: str | None) -> None:
    assert parse({"event": "something"}, url=url).task_id == task_id


def test_a_text_body_is_read_too() -> None:
    assert parse_event(bodies.body("task_started").decode()).name == "task.started"
