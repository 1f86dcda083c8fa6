"""What can be asked of the inbox, and told to it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import deliveries
import inboxes
import pytest
from workers import MOMENT, run, settled

from morag_client.errors import RecordNotFound
from morag_client.inbox.inbox import Inbox
from morag_client.inbox.queries import Queries


@pytest.fixture
def queries(inbox: Inbox) -> Queries:
    return Queries(inbox)


async def stored(inbox: Inbox, count: int) -> list[int]:
    return [(await inboxes.record(inbox, deliveries.step_body(f"task-{n}"))).record_id for n in range(count)]


async def test_every_column_comes_back(inbox: Inbox, queries: Queries) -> None:
    body = deliveries.step_body(
        *("task-1", "chunking", "failed"),
        progress_percent=37.5,
        timestamp="2024-01-15T12:34:00.250000+02:00",
        document_id="document-1",
        error_message="no memory",
        data={"error_code": "OOM", "é": "\u0000"},
    )

    await inboxes.record(inbox, body)

    [listed] = await queries.newest(limit=5)
    record = await queries.get(listed.id)
    assert listed == replace(record, body=None)
    assert (record.id, record.name, record.event_type) == (1, "chunking.failed", "step_failed")
    assert (record.task_id, record.document_id) == ("task-1", "document-1")
    assert (record.step, record.stage, record.status) == ("chunking", None, "failed")
    assert (record.progress_percent, record.error_message) == (37.5, "no memory")
    assert record.timestamp == datetime(2024, 1, 15, 10, 34, 0, 250000, tzinfo=UTC)
    assert abs((record.received_at - datetime.now(UTC)).total_seconds()) < 10
    assert (record.dialect, record.source, record.tenant, record.state) == ("flat_step", "webhook", "", "stored")
    assert (record.sequence, record.path, record.query) == (None, "/webhook", "")
    assert record.headers == {"content-type": "application/json"}
    assert (record.correlation, record.body) == ({}, body)
    [row] = await inboxes.rows_of(inbox, "events", "id, data")
    assert row.data == '{"error_code":"OOM","é":"\\u0000"}'


async def test_the_newest_come_first_by_state_and_limit(inbox: Inbox, queries: Queries) -> None:
    await stored(inbox, 5)
    await settled(inbox, 2, "failed", run("index", "failed"))
    await settled(inbox, 4, "handled", run("index"), run("bill"))

    assert [record.id for record in await queries.newest(limit=3)] == [5, 4, 3]
    assert [record.id for record in await queries.newest(limit=9, state="stored")] == [5, 3, 1]
    [handled] = await queries.newest(limit=9, state="handled")
    assert {run.handler: run.state for run in handled.runs} == {"index": "succeeded", "bill": "succeeded"}


async def test_the_newest_of_a_name_or_a_pattern(inbox: Inbox, queries: Queries) -> None:
    for body in (
        deliveries.task_body(),
        deliveries.step_body(),
        deliveries.step_body(step="ingestion", status="failed"),
    ):
        await inboxes.record(inbox, body)

    async def named(pattern: str) -> list[str]:
        return [record.name for record in await queries.newest(limit=9, name=pattern)]

    assert await named("chunking.completed") == await named("chunking") == ["chunking.completed"]
    assert await named("*.failed") == ["ingestion.failed"]
    assert await named("task_started") == ["task.started"]
    assert await named("*") == ["ingestion.failed", "chunking.completed", "task.started"]
    assert await named("chunking.start") == []


async def test_those_that_wait_come_oldest_first_between_two_ids(inbox: Inbox, queries: Queries) -> None:
    await stored(inbox, 6)
    await settled(inbox, 3, "handled")

    assert await queries.waiting_ids(after=0, limit=9) == [1, 2, 4, 5, 6]
    assert await queries.waiting_ids(after=1, up_to=5, limit=9) == [2, 4, 5]
    assert await queries.waiting_ids(after=1, limit=2) == [2, 4]


async def test_an_unknown_id_is_an_error(queries: Queries) -> None:
    for beyond in (2**31, 10**30):
        with pytest.raises(RecordNotFound):
            await queries.get(beyond)
    with pytest.raises(RecordNotFound, match="no record 7"):
        await queries.get(7)


async def test_what_is_loaded_comes_in_the_order_of_the_ids_with_bodies(inbox: Inbox, queries: Queries) -> None:
    await stored(inbox, 4)

    loaded = await queries.load([3, 1, 7])

    assert [record.id for record in loaded] == [1, 3]
    assert [record.body for record in loaded] == [(await queries.get(number)).body for number in (1, 3)]
    assert await queries.load([]) == []


async def test_runs_tell_what_became_of_each_handler(inbox: Inbox, queries: Queries) -> None:
    await stored(inbox, 1)
    before = datetime.now(UTC).timestamp()

    await settled(inbox, 1, "as_runs", run("bill"), run("index", "retrying", attempts=2, delay=60.0))

    bill, index = (await queries.get(1)).runs
    assert (bill.handler, bill.state, bill.attempts, bill.next_attempt_at) == ("bill", "succeeded", 1, None)
    assert (bill.started_at, bill.finished_at) == (MOMENT, MOMENT)
    assert (index.state, index.attempts) == ("retrying", 2)
    assert 55 < index.next_attempt_at.timestamp() - before < 65


async def test_a_handlers_earlier_outcome_gives_way_to_the_later_one(inbox: Inbox, queries: Queries) -> None:
    await stored(inbox, 1)
    await settled(inbox, 1, "as_runs", run("index", "retrying", delay=0.0))

    await settled(inbox, 1, "as_runs", run("index", "failed", attempts=2))

    record = await queries.get(1)
    assert record.state == "failed"
    assert [(one.state, one.attempts, one.next_attempt_at) for one in record.runs] == [("failed", 2, None)]


async def test_hiding_deletes_nothing(inbox: Inbox, queries: Queries) -> None:
    await stored(inbox, 3)

    await queries.hide_all()
    [later] = await stored(inbox, 1)

    assert [record.id for record in await queries.received(limit=9, most_bytes=1)] == [later]
    assert len(await queries.newest(limit=9)) == 4
    assert len(await queries.waiting_ids(after=0, limit=9)) == 4


async def test_what_was_received_comes_oldest_first_and_within_a_bound(inbox: Inbox, queries: Queries) -> None:
    ids = await stored(inbox, 4)
    size = len((await queries.get(ids[0])).body or b"")

    assert [record.id for record in await queries.received(limit=3, most_bytes=10 * size)] == ids[1:]
    assert [record.id for record in await queries.received(limit=9, most_bytes=int(2.5 * size))] == ids[2:]
    [newest] = await queries.received(limit=9, most_bytes=0)
    assert newest.body is not None
