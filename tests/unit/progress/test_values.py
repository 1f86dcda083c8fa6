"""A task's state as a row's values, and back."""

from __future__ import annotations

import copy
import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from morag_client.progress.state import StepState, TaskState, as_values, fresh, from_values

NOON = datetime(2024, 1, 15, 12, 0, 0, 250_000, tzinfo=UTC)
COLUMNS = (
    "task_id tenant document_id state name step stage progress message error error_code started_at finished_at "
    "updated_at steps sequence late correlation told"
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
times = st.datetimes(timezones=st.just(UTC))
steps = st.builds(StepState, st.sampled_from(["started", "completed", "failed"]), st.none() | times, st.none() | times)
states = st.builds(
    TaskState,
    task_id=st.none() | texts,
    tenant=texts,
    document_id=st.none() | texts,
    state=st.sampled_from(["pending", "running", "completed", "cancelled", "failed", "lost"]),
    name=st.none() | texts,
    progress=st.floats(0, 100),
    message=st.none() | texts,
    started_at=st.none() | times,
    finished_at=st.none() | times,
    steps=st.dictionaries(texts, steps, max_size=4),
    sequence=st.integers(0, 2**31),
    late=st.integers(0, 2**31),
    correlation=st.dictionaries(texts, texts, max_size=4),
)


def test_each_field_has_a_column_of_its_name() -> None:
    assert list(as_values(fresh("task-1", "acme"))) == COLUMNS.split()


def test_steps_and_correlation_are_compact_json_and_times_stay_times() -> None:
    chunking = StepState("completed", NOON, NOON + timedelta(seconds=2))
    values = as_values(
        TaskState("task-1", "acme", started_at=NOON, steps={"chunking": chunking}, correlation={"tenant": "ä"})
    )

    assert values["started_at"] is NOON
    assert values["correlation"] == '{"tenant":"ä"}'
    assert values["steps"] == (
        '{"chunking":{"status":"completed",'
        '"started_at":"2024-01-15T12:00:00.250000Z","finished_at":"2024-01-15T12:00:02.250000Z"}}'
    )


@pytest.mark.parametrize("row", [{}, dict.fromkeys([*COLUMNS.split(), "owner", "epoch"])], ids=["empty", "nulls"])
def test_a_row_that_nothing_was_written_to_is_a_fresh_task(row: dict[str, Any]) -> None:
    assert from_values(row) == fresh(None, "")
    assert from_values({**row, "task_id": "task-1", "tenant": "acme"}) == fresh("task-1", "acme")


def test_columns_of_others_are_left_alone() -> None:
    assert from_values({"task_id": "task-1", "key": b"1", "owner": "w-1", "epoch": 3}) == fresh("task-1", "")


def test_a_state_can_be_copied_but_not_changed() -> None:
    state = TaskState("task-1", "acme", steps={"chunking": StepState("started", NOON)})

    assert copy.deepcopy(state) == state
    assert dataclasses.asdict(state)["steps"]["chunking"]["started_at"] == NOON
    with pytest.raises(dataclasses.FrozenInstanceError):
        state.progress = 50.0  # type: ignore[misc]


@settings(deadline=None)
@given(states)
def test_there_and_back(state: TaskState) -> None:
    assert from_values(as_values(state)) == state
