"""Payloads read like objects where the guide names a field, and like mappings everywhere."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from morag_client.events.payloads import ChunkingData, TaskResult, as_utc


def test_fields_are_read_as_attributes_or_by_key() -> None:
    data = ChunkingData.model_validate({"chunks_created": 3, "quality": {"mean": 0.9}})

    assert data.chunks_created == data["chunks_created"] == data.get("chunks_created") == 3
    assert data["quality"] == data.get("quality") == {"mean": 0.9}
    assert data.chunking_strategy is data["chunking_strategy"] is None
    assert data.get("nothing") is None
    assert data.get("nothing", 5) == 5
    with pytest.raises(KeyError, match="nothing"):
        data["nothing"]


def test_in_says_whether_morag_sent_it() -> None:
    data = ChunkingData.model_validate({"chunks_created": None, "quality": 1})

    assert "chunks_created" in data
    assert "quality" in data
    assert "chunking_strategy" not in data
    assert "nothing" not in data
    assert "get" not in data


def test_the_short_spelling_of_a_results_time_is_the_same_field() -> None:
    assert TaskResult(processing_time_seconds=1.5) == TaskResult.model_validate({"processing_time": 1.5})


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (datetime(2025, 1, 1, 12), datetime(2025, 1, 1, 12, tzinfo=UTC)),
        (datetime(2025, 1, 1, 12, tzinfo=UTC), datetime(2025, 1, 1, 12, tzinfo=UTC)),
        (datetime(2025, 1, 1, 12, tzinfo=timezone(timedelta(hours=2))), datetime(2025, 1, 1, 10, tzinfo=UTC)),
    ],
)
def test_times_are_turned_into_utc(moment: datetime, expected: datetime) -> None:
    assert as_utc(moment) == expected
    assert as_utc(moment).tzinfo is UTC


@pytest.mark.parametrize("edge", [datetime.min, datetime.max])
def test_times_at_the_edge_of_the_calendar(edge: datetime) -> None:
    assert as_utc(edge).replace(tzinfo=None) == edge
    with pytest.raises(ValueError, match="outside the calendar"):
        as_utc(edge.replace(tzinfo=timezone(timedelta(hours=14 if edge is datetime.min else -14))))
