"""Pacing: ten updates of progress a second for each task, every change of status, and the last one always."""

from __future__ import annotations

from typing import Any

from morag_client.progress.pacing import Pacing
from morag_client.progress.state import TaskState
from morag_client.progress.updates import Update

_SEQUENCE = iter(range(1, 1_000_000))


def update(task: bytes = b"task", step: str | None = "chunking", status: str = "started", **message: Any) -> Update:
    name = f"{step or 'task'}.{status}"
    said = {"name": name, "step": step, "stage": None, "state": "running", **message}
    return Update(task, TaskState("task", "", sequence=next(_SEQUENCE)), said)


def test_progress_alone_waits_and_the_last_is_told() -> None:
    pacing = Pacing()
    assert pacing.offer(update(), now=0.0)

    waiting = [update() for _ in range(5)]
    assert [pacing.offer(one, now=0.01 * number) for number, one in enumerate(waiting, 1)] == [False] * 5

    assert pacing.next_at == 0.1
    assert pacing.due(now=0.09) == []
    assert pacing.due(now=0.1) == [waiting[-1]]
    assert pacing.next_at is None
    assert not pacing.offer(update(), now=0.15)
    assert pacing.offer(update(), now=0.21)


def test_at_most_ten_a_second() -> None:
    pacing = Pacing()
    told = 0
    for number in range(1000):
        now = number / 1000
        told += pacing.offer(update(), now=now)
        told += len(pacing.due(now=now))

    assert 9 <= told <= 11


def test_a_change_of_status_is_told_at_once_and_makes_what_waits_obsolete() -> None:
    pacing = Pacing()
    assert pacing.offer(update(), now=0.0)
    assert not pacing.offer(update(), now=0.01)

    assert pacing.offer(update(status="completed"), now=0.02)
    assert pacing.due(now=1.0) == []


def test_steps_side_by_side_are_no_changes_of_status() -> None:
    pacing = Pacing()
    told = [pacing.offer(update(step=("a", "b")[number % 2]), now=0.001 * number) for number in range(20)]

    assert told == [True, True] + [False] * 18


def test_tasks_do_not_wait_for_each_other() -> None:
    pacing = Pacing()

    assert all(pacing.offer(update(b"%d" % number), now=0.0) for number in range(20))


def test_what_was_told_long_ago_is_forgotten() -> None:
    pacing = Pacing()
    for number in range(20_000):
        assert pacing.offer(update(b"%d" % number), now=number / 100)

    assert len(pacing._paces) <= 4097
