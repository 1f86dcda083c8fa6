"""What a mock server keeps of its tasks, by a clock that is set."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from morag_client.testing.mock.profiles import profile_of
from morag_client.testing.mock.tasks import Tasks
from morag_client.testing.moments import Moment

BEGAN = datetime(2025, 6, 3, 7, 34, 47, 123456, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = BEGAN

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tasks(clock: Clock) -> Tasks:
    made = Tasks(profile_of("guide"), now=clock)
    made.add("t", expected_seconds=10, artefacts={})
    return made


def progress(task_id: str = "t", *, percent: float = 50, message: str = "on the way") -> Moment:
    return Moment(name="task.progress", task_id=task_id, progress=percent, message=message)


def test_a_history_has_the_newest_hundred(tasks: Tasks, clock: Clock) -> None:
    for place in range(101):
        clock.now += timedelta(seconds=1)
        tasks.take(progress(message=str(place)))

    history = tasks.history("t")
    assert (history["event_count"], len(history["history"])) == (100, 100)
    assert [history["history"][0]["message"], history["history"][-1]["message"]] == ["100", "1"]
    assert history["history"][0]["timestamp"] == "2025-06-03T07:36:28.123456"


def test_a_history_is_kept_for_seven_days(tasks: Tasks, clock: Clock) -> None:
    tasks.take(progress(message="old"))
    clock.now += timedelta(days=6, hours=23)
    tasks.take(progress(message="new"))
    assert tasks.history("t")["event_count"] == 2

    clock.now += timedelta(hours=2)
    assert [entry["message"] for entry in tasks.history("t")["history"]] == ["new"]
    assert [event["message"] for event in tasks.recent(hours=9999)["events"]] == ["new"]


def test_recent_is_of_the_last_hours(tasks: Tasks, clock: Clock) -> None:
    tasks.take(progress(message="old"))
    clock.now += timedelta(hours=25)
    tasks.take(progress(message="new"))

    assert [event["message"] for event in tasks.recent(hours=24)["events"]] == ["new"]
    assert [event["message"] for event in tasks.recent(hours=26)["events"]] == ["new", "old"]
    assert tasks.recent(hours=10**9)["hours"] == 10**9


def test_what_was_cancelled_stays_so(tasks: Tasks) -> None:
    tasks.take(progress())
    tasks.cancel("t")

    assert not tasks.take(Moment(name="task.completed", task_id="t", progress=100))
    assert tasks.status("t")["status"] == "revoked"
    tasks.cancel("t")
    assert tasks.history("t")["event_count"] == 2


def test_what_is_left_of_the_time(tasks: Tasks) -> None:
    tasks.take(progress(percent=75))

    assert tasks.status("t")["estimated_time_remaining"] == 2.5
