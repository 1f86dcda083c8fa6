"""Which of the records that tell the same of a task is told to handlers: the first; the others belong to it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from deliveries import step_body, task_body

from morag_client.progress.state import TaskState, advance, as_values, fresh, from_values
from morag_client.progress.telling import NOTHING_NEW, Taken, take
from morag_client.wire.answer import Answered, made_body, read_answered
from morag_client.wire.decoding import decode_object
from morag_client.wire.parsing import read_payload

ARRIVED = datetime(2024, 2, 1, 12, tzinfo=UTC)

Fields = dict[str, Any]


def webhook(status: str, **data: Any) -> Fields:
    return read_payload(decode_object(task_body("task-1", status, **data))).fields


def step(name: str, status: str, **more: Any) -> Fields:
    return read_payload(decode_object(step_body("task-1", step=name, status=status, **more))).fields


def made(name: str, **more: Any) -> Fields:
    return read_answered(decode_object(made_body(Answered(f"task.{name}", "task-1", known=0, **more)))).fields


def made_of(state: TaskState, name: str) -> Fields:
    """An event that was made when the task stood like this."""
    answered = Answered(f"task.{name}", "task-1", known=state.sequence)
    return read_answered(decode_object(made_body(answered))).fields


def taken(*events: Fields, since: TaskState | None = None) -> list[Taken]:
    """What becomes of the events, the records 1, 2, …, a second between their arrivals."""
    state, found = since or fresh("task-1", ""), []
    for number, event in enumerate(events, 1):
        found.append(take(state, event, record_id=number, received_at=ARRIVED + timedelta(seconds=number)))
        state = found[-1].state
    return found


def belongings(*events: Fields) -> list[int | None]:
    return [one.belongs_to for one in taken(*events)]


def after(*events: Fields) -> TaskState:
    return taken(*events)[-1].state


TOLD = ["completed", "failed"]
"""No release sends a webhook of a task that was cancelled."""


@pytest.mark.parametrize("end", TOLD)
def test_a_webhook_that_still_comes_belongs_to_the_made_event(end: str) -> None:
    assert belongings(webhook("started"), made(end), webhook(end)) == [None, None, 2]


@pytest.mark.parametrize("end", TOLD)
def test_a_made_event_after_the_webhook_belongs_to_that(end: str) -> None:
    assert belongings(webhook("started"), webhook(end), made(end)) == [None, None, 2]


def test_of_two_made_events_the_first_is_told() -> None:
    assert belongings(made("completed"), made("completed"), webhook("completed")) == [None, 1, 1]


def test_two_webhooks_of_one_name_are_two_events_as_ever() -> None:
    assert belongings(webhook("failed", error="a"), webhook("failed", error="b")) == [None, None]
    assert belongings(made("failed"), webhook("failed", error="a"), webhook("failed", error="b")) == [None, 1, None]


def test_what_the_webhook_says_takes_the_place_of_what_was_made() -> None:
    events = [webhook("started"), made("failed", error="said by status"), webhook("failed", error="out of memory")]

    state = after(*events)

    assert (state.state, state.error, state.sequence) == ("failed", "out of memory", 3)


def test_a_webhook_gives_its_time_to_the_end_that_was_made() -> None:
    made_end = made("completed", occurred_at=datetime(2024, 1, 1, 10, 5, tzinfo=UTC))
    told_end = webhook("completed")

    state = after(webhook("started"), made_end, told_end)

    assert (state.state, state.progress) == ("completed", 100.0)
    assert state.finished_at == told_end["occurred_at"] != made_end["occurred_at"]


def test_a_task_that_turned_out_well_after_all_is_told() -> None:
    events = taken(made("failed", error="no memory"), webhook("completed"))

    assert [one.belongs_to for one in events] == [None, None]
    assert (events[-1].state.state, events[-1].state.error) == ("completed", None)


def test_a_worse_end_than_is_known_is_not_told() -> None:
    assert belongings(webhook("completed"), made("failed")) == [None, NOTHING_NEW]
    assert after(webhook("completed"), made("failed")).state == "completed"


def test_a_webhook_of_the_failure_after_a_made_completion_belongs_to_nothing() -> None:
    # It is another name, and was never told.
    assert belongings(made("completed"), webhook("failed")) == [None, None]


def test_a_step_that_ended_the_task_has_not_told_of_its_failure() -> None:
    assert belongings(step("processing", "failed"), made("failed")) == [None, None]


def test_what_a_made_event_repeats_is_no_sign_of_life() -> None:
    before = after(webhook("completed"))

    state = take(before, made("completed"), record_id=9, received_at=ARRIVED + timedelta(days=1)).state

    assert state.updated_at == before.updated_at
    assert (state.sequence, state.late) == (before.sequence + 1, before.late + 1)


class TestStart:
    def test_it_is_only_told_of_a_task_of_which_nothing_is_known(self) -> None:
        assert belongings(made("started"), webhook("started")) == [None, 1]
        assert belongings(step("chunking", "started"), made("started")) == [None, NOTHING_NEW]


class TestProgress:
    def test_it_only_rises(self) -> None:
        events = [made("progress", progress=30.0), made("progress", progress=30.0), made("progress", progress=40.0)]

        assert belongings(*events) == [None, NOTHING_NEW, None]
        assert after(*events).progress == 40.0

    def test_it_is_not_told_of_a_task_that_has_ended(self) -> None:
        assert belongings(webhook("failed"), made("progress", progress=90.0)) == [None, NOTHING_NEW]


class TestLoss:
    def test_it_is_not_told_once_anything_has_come(self) -> None:
        before = after(webhook("started"))
        lost = made_of(before, "lost")

        assert take(before, lost, record_id=2, received_at=ARRIVED).belongs_to is None
        assert belongings(webhook("started"), step("chunking", "started"), lost)[-1] == NOTHING_NEW

    def test_any_webhook_reopens_the_task_and_it_can_be_lost_again(self) -> None:
        lost = taken(webhook("started"), made_of(after(webhook("started")), "lost"))[-1].state
        reopened = take(lost, step("chunking", "started"), record_id=3, received_at=ARRIVED).state

        again = take(reopened, made_of(reopened, "lost"), record_id=4, received_at=ARRIVED)

        assert [lost.state, reopened.state, again.state.state] == ["lost", "running", "lost"]
        assert again.belongs_to is None

    def test_what_is_made_afterwards_ends_it_too(self) -> None:
        lost = taken(webhook("started"), made_of(after(webhook("started")), "lost"))[-1].state

        ended = take(lost, made("completed"), record_id=3, received_at=ARRIVED)

        assert (ended.belongs_to, ended.state.state) == (None, "completed")


def test_who_told_what_is_stored_with_the_state() -> None:
    state = after(webhook("started"), made("failed"))

    read = from_values(as_values(state))

    assert read.told == state.told
    assert take(read, webhook("failed"), record_id=3, received_at=ARRIVED).belongs_to == 2


def test_an_end_from_before_that_was_written_down_was_told_by_a_webhook() -> None:
    state, _ = advance(fresh("task-1", ""), webhook("completed"), received_at=ARRIVED)
    values = {**as_values(state), "told": None}

    ended = take(from_values(values), made("completed"), record_id=9, received_at=ARRIVED)

    assert ended.belongs_to == NOTHING_NEW
