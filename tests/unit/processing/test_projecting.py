"""The states of tasks that a worker keeps, instead of reading them back."""

from __future__ import annotations

from collections.abc import Sequence

import deliveries
import pytest

from morag_client.inbox.lanes import Claimable, Grant, Granted, Projection
from morag_client.inbox.rows import now
from morag_client.processing import projecting
from morag_client.processing.projecting import Projecting
from morag_client.processing.work import Work
from morag_client.progress.state import TaskState, as_values, fresh
from morag_client.wire.decoding import decode_object
from morag_client.wire.parsing import read_payload

LANE = b"l" * 16


def work(record_id: int, *, step: str) -> Work:
    body = deliveries.step_body("task-1", step=step)
    return Work(Claimable(record_id, LANE, "task-1", ""), read_payload(decode_object(body)), body, now())


def grant(projection: Projection, record_ids: Sequence[int], *, lane: bytes = LANE) -> Grant:
    pairs = zip(record_ids, projection.events, strict=True)
    return Grant(lane, 1, [Granted(record_id, *event) for record_id, event in pairs])


def steps(state: TaskState) -> list[str]:
    return list(state.steps)


def first(kept: Projecting, *record_ids: int) -> Projection:
    works = {record_id: work(record_id, step=f"step{record_id}") for record_id in record_ids}
    columns = {**as_values(fresh("task-1", "")), "key": LANE}
    return kept.of(works)(columns, record_ids)


def test_what_was_kept_needs_no_columns() -> None:
    kept = Projecting()
    kept.keep([grant(first(kept, 1, 2), (1, 2))])

    projection = kept.of({3: work(3, step="step3")})({"key": LANE, "sequence": 2}, [3])

    assert kept.known([LANE, b"x" * 16]) == {LANE: 2}
    assert steps(projection.task) == ["step1", "step2", "step3"]
    assert projection.values["sequence"] == 3


def test_what_was_not_committed_is_not_kept() -> None:
    kept = Projecting()

    first(kept, 1)

    assert kept.known([LANE]) == {}


def test_what_another_worker_wrote_meanwhile_counts() -> None:
    kept, other = Projecting(), Projecting()
    kept.keep([grant(first(kept, 1), (1,))])
    theirs = first(other, 1, 7)

    projection = kept.of({3: work(3, step="step3")})({**theirs.values, "key": LANE}, [3])

    assert steps(projection.task) == ["step1", "step7", "step3"]


def test_of_a_grant_the_last_state_is_kept_whatever_the_order() -> None:
    kept = Projecting()
    projection = first(kept, 1, 2)
    backwards = grant(projection, (1, 2))

    kept.keep([Grant(LANE, 1, list(reversed(backwards.records)))])

    assert kept.known([LANE]) == {LANE: 2}


def test_a_record_without_a_task_leaves_no_state() -> None:
    kept = Projecting()

    kept.keep([Grant(LANE, 1, [Granted(1, None, False, None)]), Grant(LANE, 1, [])])

    assert kept.known([LANE]) == {}


def test_no_more_is_kept_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projecting, "_KEPT", 2)
    kept = Projecting()
    projection = first(kept, 1)

    for lane in (b"a", b"b", b"a", b"c"):
        kept.keep([grant(projection, (1,), lane=lane)])

    assert list(kept.known([b"a", b"b", b"c"])) == [b"a", b"c"]
