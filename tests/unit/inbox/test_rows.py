"""What is stored of an arrival: columns that every database takes, and no secret."""

from __future__ import annotations

import json

import deliveries
import inboxes
import pytest

from morag_client.errors import MalformedBody
from morag_client.inbox.inbox import Arrival, EventRow
from morag_client.inbox.rows import clean, kept_headers, now, quarantine_row
from morag_client.wire.delivery import Delivery

CANARY = "s3cret-canary"


def texts(row: EventRow) -> dict[str, str]:
    return {name: value for name, value in row._asdict().items() if isinstance(value, str)}


def test_nul_is_taken_out_of_columns_and_left_in_the_body() -> None:
    body = deliveries.step_body(
        *("task\0-1", "chunk\0ing", "failed"),
        document_id="doc\0ument",
        error_message="no\0 memory",
        data={"a\0b": "c\0d"},
    )

    row = inboxes.row(body, tenant="ac\0me")

    assert not [name for name, value in texts(row).items() if "\0" in value]
    assert (row.task_id, row.document_id, row.error_message) == ("task-1", "document", "no memory")
    assert (row.step, row.name, row.tenant) == ("chunking", "step.failed", "acme")
    assert json.loads(row.data) == {"a\0b": "c\0d"}
    assert row.body == body


def test_two_tasks_that_differ_in_a_nul_are_two_tasks() -> None:
    one, other = (inboxes.row(deliveries.task_body(task_id)) for task_id in ("task\0", "task"))

    assert one.task_id == other.task_id
    assert one.task_key != other.task_key


def test_overlong_columns_are_bounded_and_the_task_is_still_told_apart() -> None:
    long = "x" * 100_000
    body = deliveries.step_body(f"{long}1", long, "failed", document_id=long, error_message=long)

    row, other = inboxes.row(body, tenant=long), inboxes.row(deliveries.step_body(f"{long}2"))

    assert [len(row.task_id), len(row.step), len(row.document_id), len(row.tenant)] == [255] * 4
    assert len(row.error_message) == 8192
    assert len(row.name) <= 128
    assert row.task_id == other.task_id
    assert row.task_key != other.task_key
    assert row.body == body


@pytest.mark.parametrize("length", [0, 5, 6])
def test_clean(length: int) -> None:
    assert clean("a\0b" * 10, length) == ("ab" * 10)[:length]
    assert clean(None, length) is None


def test_headers_are_kept_from_a_list_of_the_harmless() -> None:
    kept = kept_headers(
        [
            (b"content-type", b"application/json"),
            (b"user-agent", b"MoRAG-Webhook/1.0 \xe9\xff" + b"x" * 5000),
            (b"authorization", f"Bearer {CANARY}".encode()),
            (b"x-morag-signature", CANARY.encode()),
            (b"cookie", CANARY.encode()),
            (b"x-api-key", CANARY.encode()),
            (b"x-request-id", b"42"),
        ]
    )

    assert json.loads(kept).keys() == {"content-type", "user-agent", "x-request-id"}
    assert len(json.loads(kept)["user-agent"]) == 1024
    assert CANARY not in kept


def test_paths_and_queries_are_kept_within_bounds_whatever_they_hold() -> None:
    for path in ("/webhook", "/é\0\n", "/\udcff", "/" + "x" * 100_000):
        delivery = Delivery(b"{}", path=path, query="a=%00&b=\xe9" + "y" * 100_000)
        row = quarantine_row(
            Arrival(delivery, b"0" * 16, "", now()), status=400, code=MalformedBody.code, problems=["é\0" * 3]
        )
        assert row.path.isascii()
        assert len(row.path) <= 8192
        assert len(row.query) <= 8192
        assert "\0" not in row.path + row.query + row.problems
