"""When a failed handler runs again, and what it can raise to have a say in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from morag_client.errors import ConfigurationError
from morag_client.handlers.durations import in_seconds

_MOST_DOUBLINGS: Final = 1023
"""Of a float; the longest cap is reached long before."""


@dataclass(frozen=True, slots=True, init=False)
class RetryPolicy:
    """How often a handler is tried, and how long it waits in between: `RetryPolicy(attempts=3, first=10)`.

    After attempt n, counted from 1, the wait is drawn evenly from 0 to min(`cap`, `first` · 2ⁿ⁻¹): exponential with
    full jitter, so that what failed together does not come back together. `first` and `cap` are seconds or timedeltas,
    kept as seconds. By default, the waits between the 8 attempts are an hour at most, half an hour on average.

    Raises ConfigurationError for attempts below 1 and times that are negative, longer than 366 days, or have `first`
    above `cap`.
    """

    attempts: int
    first: float
    cap: float

    # Written out, since what is given may be a timedelta and what is read is always a float.
    def __init__(
        self, *, attempts: int = 8, first: float | timedelta = 60.0, cap: float | timedelta = 15 * 60.0
    ) -> None:
        _check_attempts(attempts)
        object.__setattr__(self, "attempts", attempts)
        object.__setattr__(self, "first", in_seconds(first, of="RetryPolicy's first="))
        object.__setattr__(self, "cap", in_seconds(cap, of="RetryPolicy's cap="))
        _check_waits(self.first, self.cap)

    def delay(self, attempt: int, *, random: Callable[[], float]) -> float | None:
        """How many seconds to wait after the failed attempt of this number (from 1); None where it was the last.

        `random` gives a number from 0 to 1.
        """
        if attempt >= self.attempts:
            return None
        return random() * min(self.cap, self.first * 2.0 ** min(attempt - 1, _MOST_DOUBLINGS))


def _check_attempts(attempts: object) -> None:
    if isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 1:
        raise ConfigurationError(
            f"RetryPolicy's attempts= is how often a handler is tried, 1 or more, not {attempts!r}; with 1 it gives up"
            " after its first failure"
        )


def _check_waits(first: float, cap: float) -> None:
    if first < 0:
        raise ConfigurationError(f"RetryPolicy's first= is 0 seconds (retry at once) or more, not {first:g}")
    if first > cap:
        raise ConfigurationError(
            f"RetryPolicy's first= ({first:g} seconds) is longer than cap= ({cap:g} seconds), the longest wait;"
            " give a smaller first= or a larger cap="
        )


# Neither is a MoragError: they are raised by handlers, and an `except MoragError` around a call of ours, inside of a
# handler, must not swallow them.


class RetryLater(Exception):
    """Raised by a handler that is to run again after a time of its own choice: `raise RetryLater(after=30)`.

    `after` is seconds or a timedelta, kept as `after_seconds`; a negative one means at once, so that the distance to a
    moment that has just passed will do. It counts as an attempt like any other failure: raised in the last one, the
    handler gives up. Raises ConfigurationError for what is no time, or more than 366 days.
    """

    def __init__(self, after: float | timedelta) -> None:
        self.after_seconds: float = max(0.0, in_seconds(after, of="RetryLater's after="))
        super().__init__(self.after_seconds)

    def __str__(self) -> str:
        return f"to be tried again after {self.after_seconds:g} seconds"


class GiveUp(Exception):
    """Raised by a handler where no further attempt can help: it is a dead letter at once, to be looked at."""


class Discard(Exception):
    """Raised by a handler that is never to run again for this event, without that being a failure.

    `reason` is stored with the run.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = str(reason)
