"""Whatever arrives in whatever order, a task's state never goes backwards, and the same is known in the end."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import bodies
import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

from morag_client.events.names import STEPS
from morag_client.events.types import Dialect
from morag_client.progress.state import TaskState, advance, as_values, fresh, from_values
from morag_client.testing.pipeline.running import Plan, run
from morag_client.testing.pipeline.steps import Work
from morag_client.testing.sample import sample_document
from morag_client.testing.wording import say
from morag_client.wire.decoding import decode_object
from morag_client.wire.parsing import read_payload

BEGAN = datetime(2024, 1, 15, 10, tzinfo=UTC)
ARRIVED = BEGAN + timedelta(hours=1)
RANK = {"pending": 0, "running": 1, "lost": 2, "failed": 3, "cancelled": 4, "completed": 5}
MANY = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])

Fields = dict[str, Any]


def pipeline(dialect: Dialect | None = None, **plan: Any) -> list[Fields]:
    """What a receiver reads of a task's whole way, a second between its events."""
    moments = run(Work(sample_document(), "task-1"), clock=time.perf_counter, plan=Plan(**plan))
    words = [
        say(moment, dialect=dialect, now=BEGAN + timedelta(seconds=second)) for second, moment in enumerate(moments)
    ]
    return [read_payload(decode_object(json.dumps(said.body).encode())).fields for said in words if said]


COMPLETE = pipeline()
FAILED = pipeline(fail_at="chunking")
LOST = {"name": "task.lost", "task_id": "task-1", "status": "lost", "source": "reconcile"}
CANCELLED = {"name": "task.cancelled", "task_id": "task-1", "status": "cancelled", "source": "reconcile"}
UNKNOWN = read_payload({"task_id": "task-1", "something": "new"}).fields
EVERYTHING = [
    *COMPLETE,
    *FAILED,
    *pipeline("ingest_result"),
    *pipeline("stage_result"),
    *pipeline("pipeline_completed"),
    *(read_payload(bodies.payload(name)).fields for name in bodies.ALL),
    LOST,
    CANCELLED,
    UNKNOWN,
]

anything = st.lists(st.sampled_from(EVERYTHING), max_size=40)


def states(events: Sequence[Fields]) -> list[TaskState]:
    """The state before the events and after each of them."""
    known = [fresh("task-1", "")]
    for number, event in enumerate(events):
        known.append(advance(known[-1], event, received_at=ARRIVED + timedelta(seconds=number))[0])
    return known


def end_of(events: Sequence[Fields]) -> TaskState:
    return states(events)[-1]


def test_in_order_nothing_is_late_and_everything_is_known() -> None:
    state = end_of(COMPLETE)

    assert len(COMPLETE) == 14
    assert (state.state, state.progress, state.sequence, state.late) == ("completed", 100.0, 14, 0)
    assert (state.started_at, state.finished_at) == (BEGAN, BEGAN + timedelta(seconds=13))
    assert {name: known.seconds for name, known in state.steps.items()} == dict.fromkeys(STEPS, 1.0)
    assert [known.step for known in states(COMPLETE)[1:-1:2]] == [None, *STEPS]


@pytest.mark.parametrize("plan", [{"progress_events": True}, {"fail_at": "graph_extraction", "progress_events": True}])
@pytest.mark.parametrize("dialect", [None, "envelope", "enveloped_step"])
def test_what_comes_in_order_is_never_late(dialect: Dialect | None, plan: dict[str, Any]) -> None:
    known = states(pipeline(dialect, **plan))

    assert [state.late for state in known] == [0] * len(known)


@MANY
@given(st.permutations(COMPLETE))
@example(COMPLETE[::-1])
def test_the_order_does_not_matter_to_what_is_known_in_the_end(events: list[Fields]) -> None:
    state, in_order = end_of(events), end_of(COMPLETE)

    for name in ("state", "progress", "error", "error_code", "started_at", "finished_at", "sequence"):
        assert getattr(state, name) == getattr(in_order, name), name
    assert dict(state.steps) == dict(in_order.steps)


@MANY
@given(st.permutations(FAILED))
def test_nor_to_that_of_a_failed_task(events: list[Fields]) -> None:
    state, in_order = end_of(events), end_of(FAILED)

    assert (state.state, state.error_code, state.progress) == ("failed", in_order.error_code, in_order.progress)
    assert dict(state.steps) == dict(in_order.steps)
    assert state.error == in_order.error


@MANY
@given(st.permutations([*COMPLETE, *COMPLETE[::3], *FAILED, CANCELLED, UNKNOWN, UNKNOWN]))
def test_nor_to_that_of_a_task_which_was_tried_twice(events: list[Fields]) -> None:
    state = end_of(events)

    assert (state.state, state.error, state.progress, state.sequence) == ("completed", None, 100.0, len(events))
    assert {name: known.status for name, known in state.steps.items()} == dict.fromkeys(STEPS, "completed")


@MANY
@given(anything)
def test_nothing_goes_backwards(events: list[Fields]) -> None:
    for (before, after), event in zip(itertools.pairwise(states(events)), events, strict=True):
        assert 0.0 <= before.progress <= after.progress <= 100.0
        assert before.steps.keys() <= after.steps.keys()
        for name, step in before.steps.items():
            ranks = {"started": 0, "failed": 1, "completed": 2}
            assert ranks[step.status] <= ranks[after.steps[name].status]
        reopened = before.state == "lost" and event.get("source") != "reconcile" and event["name"] != "unknown"
        assert RANK[before.state] <= RANK[after.state] or reopened
        assert before.state not in {"failed", "cancelled", "completed"} or after.state != "running"
        assert (after.finished_at is None) == (after.state in {"pending", "running"})
        assert before.started_at is None or (after.started_at is not None and after.started_at <= before.started_at)


@MANY
@given(anything)
def test_every_event_counts_once_and_is_late_or_not(events: list[Fields]) -> None:
    state, late = fresh("task-1", ""), 0
    for number, event in enumerate(events, start=1):
        state, was_late = advance(state, event, received_at=ARRIVED)
        late += was_late

        assert (state.sequence, state.late) == (number, late)
        assert late <= number
        assert state.updated_at == ARRIVED


@MANY
@given(anything)
def test_late_events_leave_the_top_as_it_is(events: list[Fields]) -> None:
    for before, after in itertools.pairwise(states(events)):
        if after.late > before.late:
            for name in ("state", "name", "step", "stage", "message", "finished_at"):
                assert getattr(after, name) == getattr(before, name), name


@MANY
@given(anything)
def test_every_state_comes_back_from_storage_as_it_was(events: list[Fields]) -> None:
    for state in states(events):
        assert from_values(as_values(state)) == state
