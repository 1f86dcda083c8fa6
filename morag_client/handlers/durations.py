"""Durations that a user gives, as seconds."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from morag_client.errors import ConfigurationError

LONGEST_SECONDS: Final = 366 * 86400.0
"""A moment further ahead than this is a mistake, and some clocks and databases could not hold it."""


def in_seconds(duration: object, *, of: str) -> float:
    """The duration, a timedelta or a number of seconds, in seconds; it may be negative.

    Raises ConfigurationError, in a sentence about `of`, for anything else, what is not finite, and more than 366 days.
    """
    if isinstance(duration, timedelta):
        duration = duration.total_seconds()
    if isinstance(duration, bool) or not isinstance(duration, int | float):
        raise ConfigurationError(f"{of} is a timedelta or a number of seconds, not {duration!r}")
    if not abs(duration) <= LONGEST_SECONDS:  # so that NaN is none either
        raise ConfigurationError(f"{of} is a finite time of at most 366 days ({LONGEST_SECONDS:.0f} seconds)")
    return float(duration)
