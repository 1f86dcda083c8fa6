"""Ages and moments of a command line."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import typer

from morag_client.cli.times import parse_age, parse_moment


@pytest.fixture
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("text", "age"),
    [
        ("45s", timedelta(seconds=45)),
        ("90m", timedelta(minutes=90)),
        ("2h", timedelta(hours=2)),
        (" 1.5 H ", timedelta(minutes=90)),
        ("30d", timedelta(days=30)),
        ("4w", timedelta(weeks=4)),
        ("0d", timedelta()),
    ],
)
def test_ages(text: str, age: timedelta) -> None:
    assert parse_age(text) == age


@pytest.mark.parametrize("text", ["", "30", "d", "-2h", "2 months", "2026-11-01", "1e9d", "9" * 400 + "d", "٣d"])
def test_what_is_no_age(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="such as 90m, 2h, 30d"):
        parse_age(text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-01", datetime(2026, 10, 31, 23, tzinfo=UTC)),
        ("2026-11-01T10:30", datetime(2026, 11, 1, 9, 30, tzinfo=UTC)),
        ("2026-07-01 10:30:05", datetime(2026, 7, 1, 8, 30, 5, tzinfo=UTC)),
        ("2026-11-01T10:30Z", datetime(2026, 11, 1, 10, 30, tzinfo=UTC)),
        ("2026-11-01T10:30-05:00", datetime(2026, 11, 1, 15, 30, tzinfo=UTC)),
    ],
)
@pytest.mark.usefixtures("in_berlin")
def test_times_are_those_of_this_machine_unless_they_say_their_zone(text: str, moment: datetime) -> None:
    assert parse_moment(text) == moment
    assert parse_moment(text).tzinfo is UTC


def test_an_age_is_before_now() -> None:
    before = datetime.now(UTC)

    assert before <= parse_moment("2h") + timedelta(hours=2) <= datetime.now(UTC)


@pytest.mark.parametrize("text", ["", "yesterday", "30", "2026-13-01", "0001-01-01T00:00+23:00", "999999w", "2h ago"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="no time; expected a time such as 2026-11-01"):
        parse_moment(text)
