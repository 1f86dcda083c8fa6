"""The state of a task after its events, rule by rule, on the bodies that MoRAG sends."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import bodies
import pytest
from deliveries import as_body, step_body, task_body, unknown_body

from morag_client.events.catalog import KNOWN
from morag_client.events.names import is_final
from morag_client.progress.state import MOST_STEPS, StepState, TaskState, advance, fresh
from morag_client.wire.decoding import decode_object
from morag_client.wire.parsing import read_payload

ARRIVED = datetime(2024, 2, 1, 12, tzinfo=UTC)
STEP_TIME = datetime(2024, 1, 15, 10, 34, tzinfo=UTC)
"""When `step_body` happened, unless it says otherwise."""
TASK_TIME = datetime(2024, 1, 1, 10, tzinfo=UTC)
"""When every `task_body` happened."""

Fields = dict[str, Any]


def said(body: bytes) -> Fields:
    return read_payload(decode_object(body)).fields


def task(status: str, **data: Any) -> Fields:
    return said(task_body(status=status, **data))


def step(name: str, status: str, progress: float | None = 50.0, **more: Any) -> Fields:
    return said(step_body(step=name, status=status, progress_percent=progress, **more))


def reconciled(name: str, **more: Any) -> Fields:
    """What is made of MoRAG's own report, or of its silence: no webhook says it."""
    return {"name": name, "task_id": "task-1", "status": name.rpartition(".")[2], "source": "reconcile", **more}


def told(*events: Fields, since: TaskState | None = None) -> tuple[TaskState, list[bool]]:
    """The state after the events, a second between their arrivals, and which of them were late."""
    state, late = since or fresh("task-1", "acme"), []
    for number, event in enumerate(events):
        state, was_late = advance(state, event, received_at=ARRIVED + timedelta(seconds=number))
        late.append(was_late)
    return state, late


def after(*events: Fields) -> TaskState:
    return told(*events)[0]


def is_late(event: Fields, *, behind: list[Fields]) -> bool:
    return told(*behind, event)[1][-1]


class TestStart:
    def test_a_fresh_task_is_pending_and_nothing_is_known(self) -> None:
        assert fresh("task-1", "acme") == TaskState(
            task_id="task-1", tenant="acme", state="pending", progress=0.0, steps={}, sequence=0, late=0, correlation={}
        )

    def test_the_first_event_makes_it_run(self) -> None:
        state = after(task("started", message="Off we go"))

        assert (state.state, state.name, state.message, state.sequence, state.late) == (
            "running",
            "task.started",
            "Off we go",
            1,
            0,
        )
        assert (state.started_at, state.finished_at, state.updated_at) == (TASK_TIME, None, ARRIVED)

    def test_a_step_says_where_the_task_is(self) -> None:
        state = after(task("started"), step("chunking", "started", 70.0, document_id="doc-9"))

        assert (state.step, state.progress, state.document_id, state.task_id) == ("chunking", 70.0, "doc-9", "task-1")
        assert dict(state.steps) == {"chunking": StepState("started", STEP_TIME, None)}

    def test_a_stage_of_the_stage_api_says_where_the_task_is(self) -> None:
        state = after(said(bodies.body("r3_stage_result")))

        assert (state.stage, state.step, state.state) == ("markdown-conversion", None, "running")
        assert state.name == "stage.markdown-conversion.completed"

    def test_message_and_stage_stay_until_there_is_another_one(self) -> None:
        going = [task("progress", progress=0.25, message="Halfway to half"), step("chunking", "started", 70.0)]

        assert after(*going).message == "Halfway to half"
        assert after(said(bodies.body("r3_stage_result")), *going).stage == "markdown-conversion"
        assert after(*going, task("completed")).message is None
        assert after(*going, task("completed", message="Done")).message == "Done"


class TestProgress:
    def test_it_only_rises(self) -> None:
        falling = [step("a", "started", 40.0), step("a", "completed", 30.0), task("progress", progress=0.1)]

        assert after(*falling).progress == 40.0

    def test_a_failure_without_progress_does_not_take_it_back(self) -> None:
        assert after(step("a", "started", 40.0), said(bodies.body("r2_processing_failed"))).progress == 40.0

    @pytest.mark.parametrize("end", [task("completed", progress=0.2), said(bodies.body("r3_pipeline_completed"))])
    def test_completed_is_everything(self, end: Fields) -> None:
        assert after(step("a", "started", 40.0), end).progress == 100.0

    def test_a_late_event_may_know_of_more(self) -> None:
        state, late = told(task("failed"), step("a", "completed", 60.0))

        assert (state.progress, late) == (60.0, [False, True])


ENDS = {
    "lost": reconciled("task.lost"),
    "failed": task("failed", error="boom"),
    "cancelled": reconciled("task.cancelled"),
    "completed": task("completed"),
}
RANKED = list(ENDS)


class TestEnd:
    @pytest.mark.parametrize("name", KNOWN)
    def test_what_ends_a_task_is_what_is_final(self, name: str) -> None:
        family, _, status = name.rpartition(".")
        fields = {"name": name, "status": status}
        if family and family not in {"task", "pipeline", "chain"} and not family.startswith("stage."):
            fields["step"] = family

        state, _ = told(step("x", "started"), fields)

        assert (state.state != "running") == is_final(name)
        assert (state.finished_at is not None) == is_final(name)

    @pytest.mark.parametrize(
        ("body", "state"),
        [
            ("task_completed", "completed"),
            ("task_failed", "failed"),
            ("r2_ingest_success", "completed"),
            ("r3_ingest_failure", "failed"),
            ("r2_processing_failed", "failed"),
            ("r3_pipeline_completed", "completed"),
            ("r3_pipeline_failed", "failed"),
            ("r3_stage_chain_completed", "completed"),
            ("r3_stage_chain_failed", "failed"),
            ("markdown_conversion_failed", "running"),
            ("r3_stage_failed", "running"),
            ("ingestion_completed", "running"),
        ],
    )
    def test_by_real_bodies(self, body: str, state: str) -> None:
        assert after(said(bodies.body(body))).state == state

    @pytest.mark.parametrize("first", RANKED)
    @pytest.mark.parametrize("second", RANKED)
    def test_the_better_end_wins_in_any_order(self, first: str, second: str) -> None:
        state, late = told(ENDS[first], {**ENDS[second], "source": "reconcile"})
        better = RANKED.index(second) > RANKED.index(first)

        assert state.state == (second if better else first)
        assert late == [False, not better]
        # The two that no webhook tells of have no time of their own here.
        arrived = ARRIVED + timedelta(seconds=better)
        assert state.finished_at == (TASK_TIME if state.state in {"failed", "completed"} else arrived)

    @pytest.mark.parametrize("end", RANKED[1:])
    @pytest.mark.parametrize(
        "event",
        [
            task("started"),
            task("progress", progress=0.99),
            step("new", "started", 99.0),
            step("new", "completed", 99.0),
            said(bodies.body("r3_stage_result")),
        ],
        ids=lambda event: event["name"],
    )
    def test_what_does_not_end_it_comes_too_late(self, end: str, event: Fields) -> None:
        ended, _ = told(ENDS[end])
        state, late = told(event, since=ended)

        assert late == [True]
        for name in ("state", "name", "step", "stage", "message", "error", "error_code", "finished_at"):
            assert getattr(state, name) == getattr(ended, name), name
        assert (state.sequence, state.late, state.updated_at) == (2, 1, ARRIVED)

    def test_a_failed_task_that_is_tried_again_may_complete(self) -> None:
        state, late = told(
            step("ingestion", "started", 90.0),
            said(bodies.body("r2_processing_failed")),
            step("ingestion", "started", 90.0),
            step("ingestion", "completed", 100.0),
            said(bodies.body("r2_ingest_success")),
        )

        assert late == [False, False, True, True, False]
        assert (state.state, state.error, state.error_code, state.progress) == ("completed", None, None, 100.0)
        assert {name: known.status for name, known in state.steps.items()} == {
            "ingestion": "completed",
            "processing": "failed",
        }
        assert state.step == "ingestion"


class TestLost:
    def gone(self, *before: Fields) -> list[Fields]:
        return [*before, reconciled("task.lost", error="silent", message="Nothing heard", occurred_at=ARRIVED)]

    def test_silence_ends_a_task(self) -> None:
        state = after(*self.gone(task("started")))

        assert (state.state, state.error, state.finished_at) == ("lost", "silent", ARRIVED)

    @pytest.mark.parametrize(
        "event",
        [task("started"), task("progress", progress=0.1), step("a", "started", 10.0), step("b", "started", 10.0)],
        ids=["task.started", "task.progress", "a.started", "b.started"],
    )
    def test_any_webhook_reopens_it_and_is_not_late(self, event: Fields) -> None:
        known = [step("a", "completed", 20.0)]
        state, late = told(*self.gone(*known), event)

        assert late == [False, False, False]
        assert (state.state, state.name, state.finished_at, state.error) == ("running", event["name"], None, None)
        assert (state.progress, state.message, state.steps["a"].status) == (20.0, None, "completed")

    def test_a_failure_after_it_was_lost_is_the_failure(self) -> None:
        state, late = told(*self.gone(), task("failed"))

        assert (state.state, state.error, late[-1]) == ("failed", None, False)

    def test_it_is_not_reopened_by_being_lost(self) -> None:
        lost = reconciled("task.lost")
        del lost["source"]

        assert told(lost, lost)[1] == [False, True]

    def test_a_report_that_says_no_more_than_before_does_not_reopen_it(self) -> None:
        state, late = told(*self.gone(), reconciled("task.progress", progress=50.0), reconciled("task.lost"))

        assert (state.state, late) == ("lost", [False, True, True])

    @pytest.mark.parametrize("end", ["completed", "failed", "cancelled"])
    def test_a_report_of_the_end_is_believed(self, end: str) -> None:
        assert after(*self.gone(), reconciled(f"task.{end}")).state == end

    def test_what_is_not_understood_does_not_reopen_it(self) -> None:
        assert after(*self.gone(), said(unknown_body(task_id="task-1"))).state == "lost"


class TestLate:
    def test_a_start_behind_the_end_of_its_step(self) -> None:
        early, end = datetime(2024, 1, 15, 10, 30, tzinfo=UTC), step("a", "completed", 25.0)
        state, late = told(end, step("a", "started", 0.0, timestamp=early.isoformat()))

        assert late == [False, True]
        assert (state.name, state.step) == ("a.completed", "a")
        assert state.steps["a"] == StepState("completed", early, STEP_TIME)
        assert (state.steps["a"].seconds, state.started_at) == (240.0, early)

    @pytest.mark.parametrize(
        ("known", "then", "late"),
        [
            ("started", "failed", False),
            ("started", "completed", False),
            ("failed", "completed", False),
            ("failed", "started", True),
            ("completed", "started", True),
            ("completed", "failed", True),
            ("started", "started", True),
            ("failed", "failed", True),
            ("completed", "completed", True),
        ],
    )
    def test_a_step_goes_only_forward(self, known: str, then: str, late: bool) -> None:
        before = step("a", known, 50.0, error_message="first")
        state, was_late = told(before, step("a", then, 50.0, error_message="second"))

        assert was_late == [False, late]
        assert state.steps["a"].status == (known if late else then)
        assert state.error == ("second" if then == "failed" and not late else ("first" if known == "failed" else None))

    @pytest.mark.parametrize(("progress", "late"), [(49.0, True), (50.0, True), (51.0, False)])
    def test_the_same_of_a_step_again_only_counts_with_more_progress(self, progress: float, late: bool) -> None:
        assert is_late(step("a", "started", progress), behind=[step("a", "started", 50.0)]) is late

    def test_the_same_of_a_step_again_without_any_progress(self) -> None:
        sent = {"event_type": "a", "timestamp": "2024-01-15T10:34:00Z"}
        silent = said(as_body({**sent, "data": {"task_id": "task-1", "step": "a", "status": "started"}}))

        assert silent["progress"] is None
        assert is_late(silent, behind=[]) is False
        assert is_late(silent, behind=[silent]) is True

    def test_an_earlier_step_may_end_behind_the_start_of_the_next(self) -> None:
        state, late = told(
            step("a", "started", 0.0),
            step("b", "started", 25.0),
            step("a", "completed", 25.0),
            step("c", "started", 10.0),
        )

        assert late == [False] * 4
        assert state.name == "c.started"
        assert (state.step, state.progress) == ("b", 25.0)
        assert {name: known.status for name, known in state.steps.items()} == {
            "a": "completed",
            "b": "started",
            "c": "started",
        }

    @pytest.mark.parametrize(
        "behind",
        [
            [step("a", "started", 0.0)],
            [task("progress", progress=0.1)],
            [said(bodies.body("r3_stage_result"))],
        ],
        ids=["a step", "progress", "a stage"],
    )
    def test_the_start_of_a_task_behind_anything_else(self, behind: list[Fields]) -> None:
        state, late = told(*behind, task("started", message="Off we go"))

        assert late == [False, True]
        assert (state.name, state.message, state.late) == (behind[0]["name"], None, 1)

    def test_the_start_of_a_task_twice_is_not_late(self) -> None:
        assert is_late(task("started"), behind=[task("started")]) is False

    @pytest.mark.parametrize(("progress", "late"), [(0.49, True), (0.5, False), (0.51, False)])
    def test_progress_with_less_than_is_known(self, progress: float, late: bool) -> None:
        assert is_late(task("progress", progress=progress), behind=[step("a", "completed", 50.0)]) is late

    def test_progress_that_says_no_number_is_not_late(self) -> None:
        assert is_late(task("progress", message="working"), behind=[step("a", "completed", 50.0)]) is False


class TestStep:
    def test_the_next_step_takes_over_with_its_start(self) -> None:
        for status in ("started", "completed", "failed"):
            assert after(step("a", status, 25.0), step("b", "started", 25.0)).step == "b"

    def test_or_with_its_end_where_its_start_never_came(self) -> None:
        assert after(step("a", "completed", 25.0), step("b", "completed", 40.0)).step == "b"
        assert after(step("a", "completed", 25.0), step("b", "completed", 25.0)).step == "b"

    def test_a_step_that_fails_is_where_the_task_is(self) -> None:
        assert after(step("a", "started", 25.0), step("b", "failed", 0.0)).step == "b"

    def test_processing_is_no_step_that_a_task_is_at(self) -> None:
        failed = said(bodies.body("r2_processing_failed"))

        assert after(step("ingestion", "started", 70.0), failed).step == "ingestion"
        assert after(failed).step == "processing"

    def test_not_more_of_them_are_kept_than_anybody_has(self) -> None:
        many = [step(f"s{number}", "completed", 1.0) for number in range(MOST_STEPS + 10)]
        state = after(*many, step("s0", "failed", 1.0), step("s64", "started", 2.0))

        assert list(state.steps) == [f"s{number}" for number in range(MOST_STEPS)]
        assert (state.name, state.sequence) == ("s64.started", MOST_STEPS + 12)

    @pytest.mark.parametrize(
        ("started_at", "finished_at", "seconds"),
        [
            (STEP_TIME, STEP_TIME + timedelta(seconds=1.5), 1.5),
            (STEP_TIME, STEP_TIME, 0.0),
            (STEP_TIME, STEP_TIME - timedelta(seconds=1), None),
            (STEP_TIME, None, None),
            (None, STEP_TIME, None),
        ],
    )
    def test_how_long_it_took(
        self, started_at: datetime | None, finished_at: datetime | None, seconds: float | None
    ) -> None:
        assert StepState("completed", started_at, finished_at).seconds == seconds

    def test_its_first_start_and_its_best_end_count(self) -> None:
        def at(second: int) -> str:
            return (STEP_TIME + timedelta(seconds=second)).isoformat()

        state = after(
            step("a", "started", 1.0, timestamp=at(5)),
            step("a", "failed", 1.0, timestamp=at(6)),
            step("a", "started", 1.0, timestamp=at(2)),
            step("a", "started", 1.0, timestamp=at(7)),
            step("a", "completed", 1.0, timestamp=at(9)),
            step("a", "completed", 1.0, timestamp=at(12)),
        )

        assert state.steps["a"].seconds == 7.0


class TestError:
    def test_a_step_that_fails_leaves_its_error_and_the_task_runs_on(self) -> None:
        state = after(said(bodies.body("markdown_conversion_failed")))

        assert (state.state, state.steps["markdown_conversion"].status) == ("running", "failed")
        assert str(state.error).startswith("Unsupported file format")
        assert state.error_code == "UNSUPPORTED_FORMAT"

    def test_a_stage_that_fails_too(self) -> None:
        state = after(said(bodies.body("r3_stage_failed")))

        assert (state.state, state.error, dict(state.steps)) == ("running", "model overloaded", {})

    def test_the_task_s_own_error_comes_over_its_step_s(self) -> None:
        state = after(said(bodies.body("markdown_conversion_failed")), said(bodies.body("r3_ingest_failure")))

        assert (state.state, state.error) == ("failed", "Qdrant is away")
        assert state.error_code is None, "the code belongs to another error"

    def test_a_failure_that_says_nothing_leaves_the_step_s_error(self) -> None:
        assert after(step("a", "failed", error_message="boom"), task("failed")).error == "boom"

    def test_a_late_failure_explains_one_that_said_nothing(self) -> None:
        state, late = told(task("failed"), step("a", "failed", error_message="boom"))

        assert (state.error, late) == ("boom", [False, True])

    def test_a_late_failure_does_not_change_an_explanation(self) -> None:
        assert after(task("failed", error="first"), step("a", "failed", error_message="second")).error == "first"

    def test_what_is_no_failure_leaves_no_error(self) -> None:
        assert after(step("a", "completed", error_message="a warning, at most")).error is None

    def test_what_is_no_failure_explains_none(self) -> None:
        assert after(task("failed"), step("a", "completed", error_message="a warning, at most")).error is None

    def test_completion_clears_it_and_a_late_failure_does_not_bring_it_back(self) -> None:
        failed, completed = said(bodies.body("markdown_conversion_failed")), task("completed", error="none, really")

        for events in ([failed, completed], [completed, failed], [failed, completed, failed]):
            state = after(*events)
            assert (state.state, state.error, state.error_code) == ("completed", None, None)


class TestTimes:
    def test_where_an_event_has_no_time_its_arrival_counts(self) -> None:
        state = after(task("started"), said(bodies.body("r2_ingest_success")))

        assert (state.started_at, state.finished_at) == (TASK_TIME, ARRIVED + timedelta(seconds=1))
        assert state.updated_at == ARRIVED + timedelta(seconds=1)

    def test_an_end_alone_does_not_say_when_the_task_began(self) -> None:
        assert after(task("completed")).started_at is None

    def test_the_start_is_the_earliest_known_even_if_it_comes_last(self) -> None:
        state = after(step("a", "completed"), task("completed"), task("started"))

        assert (state.started_at, state.finished_at) == (TASK_TIME, TASK_TIME)

    def test_an_end_that_wins_says_when_it_was(self) -> None:
        state = after(
            {**task("failed"), "occurred_at": ARRIVED},
            {**task("completed"), "occurred_at": STEP_TIME},
            task("completed"),
        )

        assert state.finished_at == STEP_TIME


class TestBounds:
    def test_an_unknown_event_only_counts(self) -> None:
        known, _ = told(task("started"))
        unknown = said(unknown_body(task_id="task-1", document_id="doc-1", message="hello", status="done"))
        later = ARRIVED + timedelta(minutes=5)

        state, late = advance(known, unknown, received_at=later)

        assert unknown["message"] == "hello"
        assert late is False
        assert (state.sequence, state.updated_at) == (2, later)
        for name in TaskState.__slots__:
            assert name in {"sequence", "updated_at"} or getattr(state, name) == getattr(known, name), name

    def test_a_task_of_which_only_unknown_things_are_said_is_pending(self) -> None:
        assert after(said(unknown_body())).state == "pending"

    def test_texts_fit_their_columns(self) -> None:
        long = "x\0" * 20_000
        data = {"error_code": long}
        state = after(
            step(long, "failed", document_id=long, error_message=long, data=data), task("progress", message=long)
        )

        lengths = {
            name: len(getattr(state, name)) for name in ("step", "document_id", "error_code", "error", "message")
        }
        assert lengths == {"step": 255, "document_id": 255, "error_code": 255, "error": 8192, "message": 8192}
        assert list(state.steps) == ["x" * 255]
        assert "\0" not in json.dumps([state.step, state.document_id, state.error, state.error_code, state.message])

    def test_the_first_document_stays(self) -> None:
        state = after(step("a", "started", document_id="doc-1"), step("b", "started", document_id="doc-2"))

        assert state.document_id == "doc-1"

    def test_the_application_s_ids_come_with_any_event(self) -> None:
        signed = {"tenant": "acme", "ref": "r-1"}
        state = after(task("completed"), {**task("started"), "correlation": signed}, task("progress"))

        assert state.correlation == signed
        assert after({**said(unknown_body()), "correlation": signed}).correlation == signed

    def test_the_state_before_is_left_as_it_was(self) -> None:
        before, _ = told(step("a", "started"))
        kept = dict(before.steps)

        told(step("a", "completed"), step("b", "started"), since=before)

        assert (before.steps, before.sequence) == (kept, 1)
