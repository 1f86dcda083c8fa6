"""What is stored of an answer of MoRAG's, and that nobody can pass for it."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from morag_client.errors import InvalidPayload
from morag_client.wire.answer import Answered, made_body, made_identity, read_answered
from morag_client.wire.decoding import decode_object
from morag_client.wire.parsing import read_payload

ANSWERED = Answered(
    "task.completed",
    "task-1",
    known=3,
    progress=100.0,
    occurred_at=datetime(2024, 1, 15, 10, 34, tzinfo=UTC),
    message="done",
    result={"chunks_processed": 15, "metadata": {"source": "mail"}},
    document_id="doc-1",
    correlation={"order": "42"},
    answer={"status": "success"},
)


def test_what_is_made_is_read_back() -> None:
    reading = read_answered(decode_object(made_body(ANSWERED)))

    event = reading.event
    assert (event.name, event.task_id, event.source, event.status) == (
        "task.completed",
        "task-1",
        "reconcile",
        "completed",
    )
    assert (event.progress, event.occurred_at, event.message) == (100.0, ANSWERED.occurred_at, "done")
    assert (event.document_id, event.correlation, event.result.chunks_processed) == ("doc-1", {"order": "42"}, 15)
    assert event.metadata["source"] == "mail"
    assert reading.stated_task_id == "task-1"


def test_a_delivery_of_the_same_bytes_is_nothing_that_is_known() -> None:
    event = read_payload(decode_object(made_body(ANSWERED))).event

    assert (event.name, event.source) == ("unknown", "webhook")


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"reconciled": []}',
        b'{"reconciled": {"name": "chunking.completed", "task_id": "task-1"}}',
        b'{"reconciled": {"name": "task.completed"}}',
    ],
)
def test_what_was_not_made_here_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidPayload):
        read_answered(decode_object(body))


def test_what_json_cannot_say_is_left_out() -> None:
    body = made_body(ANSWERED._replace(result={"score": float("nan"), "path": object}))

    assert json.loads(body)["reconciled"]["result"]["score"] is None


def test_the_same_answer_has_one_identity_whenever_it_was_given() -> None:
    later = ANSWERED._replace(occurred_at=datetime(2025, 1, 1, tzinfo=UTC), known=9)

    assert made_identity(ANSWERED, tenant="") == made_identity(later, tenant="")


def test_another_tenant_task_name_or_answer_has_another_identity() -> None:
    others = [
        ANSWERED._replace(task_id="task-2"),
        ANSWERED._replace(name="task.failed"),
        ANSWERED._replace(result={"chunks_processed": 16}),
        ANSWERED._replace(error="no"),
        ANSWERED._replace(progress=50.0),
    ]

    identities = {made_identity(one, tenant="") for one in (ANSWERED, *others)} | {made_identity(ANSWERED, tenant="a")}

    assert len(identities) == len(others) + 2


def test_a_task_can_be_lost_again_after_other_events() -> None:
    lost = Answered("task.lost", "task-1", known=3)

    assert made_identity(lost, tenant="") == made_identity(lost._replace(message="silent"), tenant="")
    assert made_identity(lost, tenant="") != made_identity(lost._replace(known=5), tenant="")
