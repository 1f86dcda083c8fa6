"""What can be asked of the inbox, and told to it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import deliveries
import inboxes
import pytest

from morag_client.errors import RecordNotFound
from morag_client.inbox.inbox import Inbox
from morag_client.inbox.ownership import Claimable, Ownership, RunRow, Settlement
from morag_client.inbox.queries import Queries

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def queries(inbox: Inbox) -> Queries:
    return Queries(inbox)


async def settled(inbox: Inbox, record_id: int, state: str, **runs: str) -> None:
    """Lets the runs of a record have ended like this."""
    ownership = Ownership(inbox.database, worker_id="ann", lease=30.0)
    record = await Queries(inbox).get(record_id)
    [grant] = await ownership.claim([Claimable(record.id, record.task_key, record.task_id, record.tenant)])
    rows = [RunRow(handler, how, 1, None, None, MOMENT, MOMENT) for handler, how in runs.items()]
    await ownership.settle([Settlement(record_id, grant.lane, grant.epoch, state, rows)], release=[grant.lane])


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
    await settled(inbox, 2, "failed", index="failed")
    await settled(inbox, 4, "handled", index="succeeded", bill="succeeded")

    assert [record.id for record in await queries.newest(limit=3)] == [5, 4, 3]
    assert [record.id for record in await queries.newest(limit=9, state="stored")] == [5, 3, 1]
    [handled] = await queries.newest(limit=9, state="handled")
    assert {run.handler: run.state for run in handled.runs} == {"index": "succeeded", "bill": "succeeded"}


async def test_those_that_wait_come_oldest_first_between_two_ids(inbox: Inbox, queries: Queries) -> None:
    await stored(inbox, 6)
    await settled(inbox, 3, "handled")

    assert [record.id for record in await queries.waiting(after=0, limit=9)] == [1, 2, 4, 5, 6]
    assert [record.id for record in await queries.waiting(after=1, up_to=5, limit=9)] == [2, 4, 5]
    assert [record.id for record in await queries.waiting(after=1, limit=2)] == [2, 4]


async def test_an_unknown_id_is_an_error(queries: Queries) -> None:
    for call in (queries.get, queries.reopen):
        with pytest.raises(RecordNotFound, match="no record 7"):
            await call(7)


async def test_reopening_lets_failed_handlers_run_again_and_keeps_what_succeeded(
    inbox: Inbox, queries: Queries
) -> None:
    await stored(inbox, 1)
    await settled(inbox, 1, "failed", index="succeeded", bill="failed")

    assert await queries.reopen(1) == ["bill"]

    record = await queries.get(1)
    assert record.state == "stored"
    assert [(run.handler, run.state) for run in record.runs] == [("index", "succeeded"), ("bill", "failed")]


async def test_reopening_what_did_not_fail_lets_all_handlers_run_again(inbox: Inbox, queries: Queries) -> None:
    await stored(inbox, 1)
    await settled(inbox, 1, "handled", index="succeeded", bill="succeeded")

    assert await queries.reopen(1) == ["index", "bill"]

    record = await queries.get(1)
    assert (record.state, list(record.runs)) == ("stored", [])


async def test_hiding_deletes_nothing(inbox: Inbox, queries: Queries) -> None:
    await stored(inbox, 3)

    await queries.hide_all()
    [later] = await stored(inbox, 1)

    assert [record.id for record in await queries.received(limit=9, most_bytes=1)] == [later]
    assert len(await queries.newest(limit=9)) == 4
    assert len(await queries.waiting(after=0, limit=9)) == 4


async def test_what_was_received_comes_oldest_first_and_within_a_bound(inbox: Inbox, queries: Queries) -> None:
    ids = await stored(inbox, 4)
    size = len((await queries.get(ids[0])).body or b"")

    assert [record.id for record in await queries.received(limit=3, most_bytes=10 * size)] == ids[1:]
    assert [record.id for record in await queries.received(limit=9, most_bytes=int(2.5 * size))] == ids[2:]
    [newest] = await queries.received(limit=9, most_bytes=0)
    assert newest.body is not None


async def test_reopening_what_still_waits_keeps_what_is_done(inbox: Inbox, queries: Queries) -> None:
    await stored(inbox, 1)
    await settled(inbox, 1, "stored", index="succeeded")

    assert await queries.reopen(1) == []
    assert [run.handler for run in (await queries.get(1)).runs] == ["index"]
