"""When a failed handler runs again, and what it can raise to have a say in it."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle
from datetime import timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, strategies as st

from morag_client import ConfigurationError, Discard, MoragError, RetryLater, RetryPolicy

YEAR = 366 * 86400.0
seconds = st.just(0.0) | st.floats(min_value=1e-6, max_value=YEAR)
policies = st.builds(
    lambda attempts, waits: RetryPolicy(attempts=attempts, first=min(waits), cap=max(waits)),
    st.integers(min_value=1, max_value=10**400),
    st.tuples(seconds, seconds),
)
numbers = st.integers(min_value=1, max_value=40) | st.integers(min_value=1, max_value=10**401)


def longest(policy: RetryPolicy, attempt: int) -> float | None:
    return policy.delay(attempt, random=lambda: 1.0)


def test_by_default_eight_attempts_wait_an_hour_at_most() -> None:
    # given a random number that is always the largest
    waits = [longest(RetryPolicy(), attempt) for attempt in range(1, 9)]

    assert waits == [60, 120, 240, 480, 900, 900, 900, None]
    assert sum(wait or 0 for wait in waits) == 3600


@given(policies, numbers, st.floats(min_value=0, max_value=1))
def test_a_wait_is_a_share_of_the_doubled_first_one_up_to_the_cap(
    policy: RetryPolicy, attempt: int, share: float
) -> None:
    wait = policy.delay(attempt, random=lambda: share)

    if attempt >= policy.attempts:
        assert wait is None
    else:
        doublings = min(attempt - 1, 2000)  # beyond, exact numbers become slow
        limit = min(Fraction(policy.cap), Fraction(policy.first) * 2**doublings)
        assert wait is not None
        assert 0 <= wait <= limit
        assert math.isclose(wait, share * float(limit), rel_tol=1e-9, abs_tol=1e-300)


@given(policies, numbers, numbers)
def test_waits_never_become_shorter(policy: RetryPolicy, one: int, other: int) -> None:
    earlier, later = longest(policy, min(one, other)), longest(policy, max(one, other))

    assert later is None or (earlier is not None and earlier <= later)


def test_the_random_number_is_drawn_anew_for_each_wait() -> None:
    shares = iter([0.25, 0.5])

    assert [RetryPolicy().delay(2, random=lambda: next(shares)) for _ in range(2)] == [30, 60]


def test_one_attempt_is_never_repeated() -> None:
    assert longest(RetryPolicy(attempts=1), 1) is None


def test_times_are_seconds_or_timedeltas_and_are_kept_as_seconds() -> None:
    given_so = RetryPolicy(attempts=3, first=timedelta(milliseconds=1500), cap=timedelta(days=366))

    assert (given_so.first, given_so.cap) == (1.5, YEAR)
    assert given_so == RetryPolicy(attempts=3, first=1.5, cap=int(YEAR))
    assert isinstance(RetryPolicy(first=1, cap=1).first, float)


def test_a_policy_is_a_value() -> None:
    policy = RetryPolicy(attempts=3, first=1)

    assert {policy: 1}[RetryPolicy(attempts=3, first=1)] == 1
    assert pickle.loads(pickle.dumps(policy)) == copy.copy(policy) == policy  # noqa: S301
    assert dataclasses.replace(policy, attempts=4) == RetryPolicy(attempts=4, first=1)
    assert repr(policy) == "RetryPolicy(attempts=3, first=1.0, cap=900.0)"
    with pytest.raises(dataclasses.FrozenInstanceError):
        policy.attempts = 4  # type: ignore[misc]
    with pytest.raises(TypeError):
        RetryPolicy(3)  # type: ignore[misc]


@pytest.mark.parametrize("attempts", [0, -1, True, 2.0, "3", None, math.nan])
def test_attempts_that_are_none(attempts: Any) -> None:
    with pytest.raises(ConfigurationError, match="attempts= is how often"):
        RetryPolicy(attempts=attempts)


@pytest.mark.parametrize("option", ["first", "cap"])
@pytest.mark.parametrize(
    ("time", "said"),
    [
        ("60", "timedelta or a number of seconds, not '60'"),
        (None, "not None"),
        (True, "not True"),
        (math.nan, "finite"),
        (math.inf, "finite"),
        (-math.inf, "finite"),
        (10**400, "366 days"),
        (-(10**400), "366 days"),
        (timedelta.max, "366 days"),
        (YEAR + 1, "366 days"),
    ],
)
def test_what_is_no_time(option: str, time: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        RetryPolicy(**{option: time})
    assert f"{option}=" in str(caught.value)


@pytest.mark.parametrize("first", [-1, -1e-9, timedelta(seconds=-1)])
def test_no_wait_is_negative(first: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"0 seconds .* or more"):
        RetryPolicy(first=first)
    with pytest.raises(ConfigurationError):
        RetryPolicy(first=0, cap=first)


def test_no_wait_is_longer_than_the_cap() -> None:
    assert longest(RetryPolicy(first=900), 1) == longest(RetryPolicy(first=900), 7) == 900
    assert longest(RetryPolicy(first=0, cap=0), 7) == 0

    with pytest.raises(ConfigurationError, match=r"first= \(3600 seconds\).*cap= \(900 seconds\).*larger cap="):
        RetryPolicy(first=timedelta(hours=1))


@pytest.mark.parametrize(
    ("after", "expected"),
    [(30, 30.0), (0.5, 0.5), (timedelta(minutes=2), 120.0), (0, 0.0), (-3, 0.0), (timedelta(days=-1), 0.0)],
)
def test_retry_later_says_after_how_many_seconds(after: Any, expected: float) -> None:
    for error in (RetryLater(after=after), RetryLater(after)):
        assert error.after_seconds == expected
        assert isinstance(error.after_seconds, float)
        assert f"{expected:g} seconds" in str(error)


@pytest.mark.parametrize("after", ["30", None, True, math.nan, math.inf, 10**400, timedelta.max])
def test_retry_later_after_what_is_no_time(after: Any) -> None:
    with pytest.raises(ConfigurationError, match="RetryLater's after="):
        RetryLater(after=after)


def test_discard_says_why() -> None:
    assert Discard("of no interest").reason == str(Discard("of no interest")) == "of no interest"
    assert Discard(LookupError("gone")).reason == "gone"  # type: ignore[arg-type]


def test_what_a_handler_raises_survives_a_pickle() -> None:
    later, discard = pickle.loads(pickle.dumps((RetryLater(after=2.5), Discard("gone"))))  # noqa: S301

    assert later.after_seconds == 2.5
    assert discard.reason == "gone"


@pytest.mark.parametrize("error", [RetryLater(after=1), Discard("gone")])
def test_what_a_handler_raises_is_not_caught_as_an_error_of_ours(error: Exception) -> None:
    assert not isinstance(error, MoragError)
