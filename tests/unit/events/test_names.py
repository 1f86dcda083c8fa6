from __future__ import annotations

import pytest

from morag_client.events.names import from_guide, guide_event_type, is_final, stage_name, step_event_name


@pytest.mark.parametrize(
    ("name", "spelling"),
    [
        ("task.started", "task_started"),
        ("task.lost", "task_lost"),
        ("markdown_conversion.completed", "step_completed"),
        ("step.failed", "step_failed"),
        ("stage.fact-generator.skipped", "stage_skipped"),
        ("pipeline.completed", "pipeline_completed"),
        ("chain.failed", "chain_failed"),
        ("unknown", "unknown"),
    ],
)
def test_the_guides_spelling(name: str, spelling: str) -> None:
    assert guide_event_type(name) == spelling


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("task_completed", "task.completed"),
        ("task_cancelled", "task.cancelled"),
        ("task_paused", "task_paused"),
        ("task.completed", "task.completed"),
        ("task", "task"),
        ("markdown_conversion", "markdown_conversion"),
        ("", ""),
    ],
)
def test_names_from_the_guide(spelling: str, name: str) -> None:
    assert from_guide(spelling) == name


@pytest.mark.parametrize(
    ("name", "final"),
    [
        ("task.completed", True),
        ("task.failed", True),
        ("task.cancelled", True),
        ("task.lost", True),
        ("processing.failed", True),
        ("pipeline.completed", True),
        ("pipeline.failed", True),
        ("chain.completed", True),
        ("chain.failed", True),
        ("task.started", False),
        ("task.progress", False),
        ("processing.completed", False),
        ("ingestion.completed", False),
        ("chunking.failed", False),
        ("stage.ingestor.completed", False),
        ("unknown", False),
    ],
)
def test_what_ends_a_task(name: str, final: bool) -> None:
    assert is_final(name) is final


def test_stages_by_word_and_number() -> None:
    assert [stage_name(number) for number in range(7)] == [
        None,
        "markdown-conversion",
        "markdown-optimizer",
        "chunker",
        "fact-generator",
        "ingestor",
        None,
    ]
    assert stage_name("chunker") == "chunker"
    assert [stage_name(odd) for odd in (True, 1.0, None, "Chunker", [], {})] == [None] * 6


def test_steps_with_and_without_a_name_of_their_own() -> None:
    assert step_event_name("chunking", "started") == "chunking.started"
    assert step_event_name("task", "failed") == "step.failed"
    assert step_event_name("Chunking", "completed") == "step.completed"
