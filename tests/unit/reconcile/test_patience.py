"""The longer a task has been silent, the more rarely it is asked about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from morag_client.progress.state import TaskState
from morag_client.reconcile.patience import Patience

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def silent(**since: float) -> dict[bytes, TaskState]:
    return {b"a": TaskState("a", "", updated_at=NOON - timedelta(**since))}


def asked(patience: Patience, tasks: dict[bytes, TaskState], *, after: timedelta) -> bool:
    return b"a" in patience.due(tasks, now=NOON + after)


def test_again_after_a_tenth_of_its_silence() -> None:
    patience, tasks = Patience(), silent(minutes=90)
    assert asked(patience, tasks, after=timedelta(0))
    patience.asked([b"a"], silent=tasks, now=NOON)
    assert not asked(patience, tasks, after=timedelta(minutes=9))
    assert asked(patience, tasks, after=timedelta(minutes=11))


def test_every_six_hours_however_silent() -> None:
    patience, tasks = Patience(), silent(days=6)
    patience.asked([b"a"], silent=tasks, now=NOON)
    assert not asked(patience, tasks, after=timedelta(hours=5))
    assert asked(patience, tasks, after=timedelta(hours=6))


def test_what_was_not_asked_about_is_still_due() -> None:
    patience, tasks = Patience(), silent(minutes=90)
    patience.asked([], silent=tasks, now=NOON)
    assert asked(patience, tasks, after=timedelta(0))


def test_what_is_not_silent_any_more_is_forgotten() -> None:
    patience, tasks = Patience(), silent(minutes=90)
    patience.asked([b"a"], silent=tasks, now=NOON)
    patience.asked([], silent={}, now=NOON)
    assert asked(patience, tasks, after=timedelta(0))


def test_a_clock_that_was_set_back_holds_nothing_up() -> None:
    patience, tasks = Patience(), silent(minutes=90)
    patience.asked([b"a"], silent=tasks, now=NOON + timedelta(hours=1))
    assert asked(patience, tasks, after=timedelta(0))


def test_in_turn() -> None:
    patience = Patience()
    tasks = {key: TaskState(key.decode(), "", updated_at=NOON) for key in (b"a", b"b", b"c")}
    patience.asked([b"b"], silent=tasks, now=NOON)
    patience.asked([b"a"], silent=tasks, now=NOON + timedelta(minutes=1))
    assert patience.in_turn(tasks) == [b"c", b"b", b"a"]
