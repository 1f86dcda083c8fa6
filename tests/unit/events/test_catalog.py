"""Names, the classes they have, and the patterns that mean them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, strategies as st

from morag_client.events import types
from morag_client.events.catalog import (
    KNOWN,
    canonical_pattern,
    event_class,
    is_known,
    matches,
    nearest_known,
    producible,
)


def test_the_catalog_is_whole() -> None:
    # 6 of a task, 6 steps x 3, 5 stages x 3, 2 of a pipeline, 2 of a chain, and unknown
    assert len(KNOWN) == 6 + 18 + 15 + 2 + 2 + 1
    assert all(issubclass(cls, types.Event) for cls in KNOWN.values())


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("task.completed", types.TaskCompleted),
        ("chunking.failed", types.ChunkingFailed),
        ("stage.ingestor.skipped", types.StageSkipped),
        ("pipeline.failed", types.PipelineFailed),
        ("chain.completed", types.ChainCompleted),
        ("unknown", types.UnknownEvent),
        ("processing.failed", types.StepFailed),
        ("step.started", types.StepStarted),
        ("anything-new.completed", types.StepCompleted),
    ],
)
def test_the_class_of_a_name(name: str, cls: type[types.Event]) -> None:
    assert event_class(name) is cls


@pytest.mark.parametrize(
    ("pattern", "canonical"),
    [
        ("chunking", "chunking.*"),
        ("chunking.completed", "chunking.completed"),
        ("task", "task.*"),
        ("stage", "stage.*"),
        ("*.failed", "*.failed"),
        ("*", "*"),
        ("unknown", "unknown"),
        ("task_completed", "task.completed"),
        ("chunk*", "chunk*"),
        ("markdown_conversion", "markdown_conversion.*"),
    ],
)
def test_patterns_have_one_spelling(pattern: str, canonical: str) -> None:
    assert canonical_pattern(pattern) == canonical
    assert canonical_pattern(canonical) == canonical


@pytest.mark.parametrize(
    ("pattern", "meant", "not_meant"),
    [
        ("*", ["task.started", "unknown", "stage.chunker.failed"], []),
        ("*.failed", ["task.failed", "stage.chunker.failed", "x.failed"], ["task.completed", "unknown", "failed"]),
        ("chunking.*", ["chunking.started", "chunking.failed"], ["chunking", "chunking2.started"]),
        ("stage.*.completed", ["stage.chunker.completed"], ["stage.chunker.failed", "stage.completed"]),
        ("a*a", ["aa", "aba"], ["a"]),
        ("a*b*c", ["abc", "axbxc"], ["acb", "ab"]),
        ("task.completed", ["task.completed"], ["task.completed.x", "xtask.completed"]),
        ("**", ["x"], []),
    ],
)
def test_matching(pattern: str, meant: list[str], not_meant: list[str]) -> None:
    assert [name for name in meant if not matches(pattern, name)] == []
    assert [name for name in not_meant if matches(pattern, name)] == []


@given(st.text("ab.*", max_size=8), st.text("ab.", max_size=10))
def test_matching_is_that_of_a_wildcard(pattern: str, name: str) -> None:
    expected = re.fullmatch(".*".join(re.escape(piece) for piece in pattern.split("*")), name) is not None

    assert matches(pattern, name) is expected


@pytest.mark.parametrize(
    ("pattern", "classes"),
    [
        ("chunking.completed", {types.ChunkingCompleted}),
        ("chunking.*", {types.ChunkingStarted, types.ChunkingCompleted, types.ChunkingFailed}),
        ("ingestor.*", {types.StepStarted, types.StepCompleted, types.StepFailed}),
        ("step.*", {types.StepStarted, types.StepCompleted, types.StepFailed}),
        ("stage.*", {types.StageCompleted, types.StageFailed, types.StageSkipped}),
        ("unknown", {types.UnknownEvent}),
        ("task.nothing", set()),
        ("pipeline.started", set()),
    ],
)
def test_what_a_pattern_can_produce(pattern: str, classes: set[type[types.Event]]) -> None:
    assert producible(pattern) == classes


def test_wildcards_mean_unlisted_steps_too() -> None:
    assert types.StepFailed in producible("*.failed")
    assert types.StepCompleted in producible("in*.completed")
    assert producible("*") == set(KNOWN.values()) | {types.StepStarted, types.StepCompleted, types.StepFailed}
    assert producible("*.completed").isdisjoint({types.StepFailed, types.UnknownEvent, types.TaskStarted})


@pytest.mark.parametrize(
    "pattern", ["*", "task.*", "chunking.completed", "processing.failed", "step.started", "unknown"]
)
def test_known_patterns(pattern: str) -> None:
    assert is_known(pattern)


@pytest.mark.parametrize(
    ("pattern", "nearest"),
    [
        ("chunking.complete", "chunking.completed"),
        ("chunkin.*", "chunking.*"),
        ("task.finished", "task.failed"),
        ("markdown-conversion.completed", "markdown_conversion.completed"),
        ("unknwon.*", "unknown"),
    ],
)
def test_unknown_patterns_have_a_nearest_known_one(pattern: str, nearest: str) -> None:
    assert not is_known(pattern)
    assert nearest_known(pattern) == nearest
