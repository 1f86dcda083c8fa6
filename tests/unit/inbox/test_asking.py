"""What can be asked for, and what is said to be a mistake."""

from __future__ import annotations

from typing import Any

import pytest

from morag_client.errors import ConfigurationError
from morag_client.inbox.asking import MOST, checked_limit, checked_state, checked_text


@pytest.mark.parametrize("limit", [1, 50, MOST])
def test_a_limit_that_can_be(limit: int) -> None:
    assert checked_limit(limit) == limit


@pytest.mark.parametrize("limit", [0, -1, MOST + 1, 2**70, 1.5, True, None, "5"])
def test_a_limit_that_cannot_be_is_named(limit: Any) -> None:
    with pytest.raises(ConfigurationError, match="limit= is how many") as error:
        checked_limit(limit)
    assert repr(limit) in str(error.value)


@pytest.mark.parametrize("text", ["a\0b", "\ud800", 7, b"x"])
def test_a_text_that_is_stored_nowhere_is_named(text: Any) -> None:
    assert checked_text("é\n", of="task_id") == "é\n"
    with pytest.raises(ConfigurationError, match=r"task_id= (has|is)"):
        checked_text(text, of="task_id")


def test_a_state_is_one_of_those_there_are() -> None:
    assert checked_state("failed", ("handled", "failed")) == "failed"
    with pytest.raises(ConfigurationError, match="none of handled, failed: 'Failed'"):
        checked_state("Failed", ("handled", "failed"))
