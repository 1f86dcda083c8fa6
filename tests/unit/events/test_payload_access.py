"""Payloads read like mappings, by every name that a field has on the wire."""

from __future__ import annotations

import pytest

from morag_client import TaskResult


@pytest.mark.parametrize("sent", ["processing_time", "processing_time_seconds"])
def test_a_field_of_two_names_is_found_under_both(sent: str) -> None:
    result = TaskResult.model_validate({sent: 45.2, "shards": 3})

    assert result.processing_time_seconds == 45.2
    for name in ("processing_time", "processing_time_seconds"):
        assert result[name] == result.get(name) == 45.2
        assert name in result
    assert result["shards"] == 3
    assert "chunks_created" not in result
    with pytest.raises(KeyError):
        result["nothing"]
