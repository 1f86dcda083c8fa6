"""Whatever is sent, a body becomes an Event or is rejected by name; nothing else is ever raised."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import bodies
from hypothesis import example, given, settings, strategies as st

from morag_client.errors import DeliveryRejected, InvalidPayload, MalformedBody
from morag_client.events.catalog import event_class
from morag_client.events.types import Event
from morag_client.wire.parsing import parse_event, read_payload
from morag_client.wire.validation import validate_webhook

MANY = settings(max_examples=300, deadline=None)
KEYS = sorted({key for name in bodies.ALL for key in bodies.payload(name)})
WORDS = ["task_started", "stage_completed", "stage_chain_completion", "SUCCESS", "FAILURE", "chunking", "chunker", "3"]
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -(10**400), 2**63, 1e308, "2024-01-01T00:00:00Z", "", "\x00", *WORDS])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
)
names = st.sampled_from(KEYS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4))


def outcome(body: bytes, url: str | None = None) -> Event | DeliveryRejected:
    """The event or the rejection, each with what must always hold for it."""
    try:
        event = parse_event(body, url=url)
    except DeliveryRejected as rejected:
        return sound_rejection(rejected)
    assert type(event) is event_class(event.name)
    assert event.progress is None or 0 <= event.progress <= 100
    assert event.occurred_at is None or event.occurred_at.utcoffset() is not None
    assert event.dialect != "ingest_result" or event.occurred_at is None
    assert event.raw == json.loads(body)
    assert url is not None or read_payload(event.raw).stated_task_id == event.task_id
    json.dumps(event.raw, allow_nan=False)
    return event


def sound_rejection(rejected: DeliveryRejected) -> DeliveryRejected:
    assert type(rejected) in {MalformedBody, InvalidPayload}
    assert rejected.problems
    assert all(isinstance(problem, str) and problem for problem in rejected.problems)
    return rejected


@MANY
@given(st.binary(max_size=200))
@example(b"")
@example(b"\xef\xbb\xbf{}")
def test_arbitrary_bytes(body: bytes) -> None:
    outcome(body)
    assert isinstance(validate_webhook(body), list)


@MANY
@given(values)
def test_arbitrary_json(value: Any) -> None:
    body = json.dumps(value).encode()

    found = outcome(body)

    assert isinstance(found, MalformedBody) is not isinstance(value, dict)
    assert isinstance(validate_webhook(body), list)


@MANY
@given(st.dictionaries(st.sampled_from(KEYS), values, max_size=8), st.text(max_size=30))
def test_objects_of_familiar_keys(payload: dict[str, Any], url: str) -> None:
    outcome(json.dumps(payload).encode(), url)
    assert isinstance(validate_webhook(payload), list)


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """A valid body of some dialect with up to three places, however deep, replaced, removed or added."""
    payload = bodies.payload(draw(st.sampled_from(bodies.ALL)))
    for _ in range(draw(st.integers(1, 3))):
        place: Any = payload
        while True:
            if not place:
                break
            key = draw(st.sampled_from(list(place) if isinstance(place, dict) else list(range(len(place)))))
            if isinstance(place[key], (dict, list)) and place[key] and draw(st.integers(0, 3)):
                place = place[key]
                continue
            match draw(st.sampled_from(["replace", "remove", "add"])):
                case "remove":
                    del place[key]
                case "add" if isinstance(place, dict):
                    place[draw(names)] = draw(values)
                case _:
                    place[key] = draw(values)
            break
    return payload


@settings(MANY, max_examples=1000)
@given(mutated())
def test_mutated_bodies_of_every_dialect(payload: dict[str, Any]) -> None:
    before = copy.deepcopy(payload)

    found = outcome(json.dumps(payload).encode())

    # what a receiver refuses, the validator complains about in the same words
    problems = validate_webhook(payload)
    assert payload == before
    if isinstance(found, InvalidPayload):
        assert set(found.problems) <= set(problems)


PAYLOADS = [
    ("chunking_completed", ("data",)),
    ("graph_extraction_completed", ("data",)),
    ("ingestion_completed", ("data",)),
    ("metadata_extraction_completed", ("data",)),
    ("markdown_conversion_failed", ("data",)),
    ("task_completed", ("data", "result")),
    ("task_failed", ("data", "error_details")),
    ("task_started", ("data", "metadata")),
    ("r3_pipeline_completed", ("context",)),
    ("r3_stage_completed", ("files",)),
]


@MANY
@given(st.sampled_from(PAYLOADS), st.data())
def test_a_misfit_in_an_optional_field_never_loses_the_event(
    place: tuple[str, tuple[str, ...]], data: st.DataObject
) -> None:
    name, path = place
    payload = bodies.payload(name)
    inner = payload
    for key in path:
        inner = inner[key]
    for key in data.draw(st.lists(st.sampled_from(sorted(inner)), unique=True)):
        inner[key] = data.draw(values)

    found = outcome(json.dumps(payload).encode())

    assert isinstance(found, Event)
    assert found.name == parse_event(bodies.body(name)).name


@MANY
@given(st.integers() | st.floats(allow_nan=False) | st.sampled_from([10**400, -(10**400), 10**4000]))
def test_progress_of_any_size(progress: float) -> None:
    payload = {**bodies.payload("chunking_completed"), "progress_percent": progress}

    found = outcome(json.dumps(payload).encode())

    huge = isinstance(progress, int) and abs(progress) > 10**308
    infinite = isinstance(progress, float) and math.isinf(progress)
    assert type(found) is (MalformedBody if infinite else InvalidPayload if huge else event_class("chunking.completed"))
