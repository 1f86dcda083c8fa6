"""Pruning: what was said is let go of, what happened is not, and nobody who delivers notices."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import deliveries
import inboxes
import pytest
from workers import Worker, run, settled, stored

from morag_client.errors import ConfigurationError, DeliveryRejected, InboxUnavailable
from morag_client.inbox import audit, dead_letters, quarantine, retention
from morag_client.inbox.dead_letters import DeadLetterFilter, Retried
from morag_client.inbox.inbox import Inbox
from morag_client.inbox.portions import portions
from morag_client.inbox.queries import Queries
from morag_client.inbox.replay_criteria import Replay, ReplayCriteria
from morag_client.inbox.replaying import replay
from morag_client.inbox.retention import Pruned, Pruning, count, prune
from morag_client.inbox.rows import event_row, now
from morag_client.inbox.vacuuming import vacuum
from morag_client.progress.tasks import TaskQueries
from morag_client.wire.decoding import decode_object
from morag_client.wire.parsing import read_payload

LONG_AGO = timedelta(days=40)
MONTH = timedelta(days=30)


async def received(inbox: Inbox, body: bytes, *, ago: timedelta = LONG_AGO) -> int:
    """The id of a record that came so long ago."""
    arrival = inboxes.arrival(body)._replace(received_at=now() - ago)
    delivery = deliveries.delivery(body, query="document_id=7", user_agent="MoRAG")
    row = event_row(arrival._replace(delivery=delivery), read_payload(decode_object(body)), task_key=b"k" * 16)
    return (await inbox.record(arrival, row)).record_id


async def handled(inbox: Inbox, *ago: timedelta) -> list[int]:
    """The ids of handled records that came so long ago."""
    ids = [await received(inbox, deliveries.task_body("a"), ago=one) for one in ago]
    await inboxes.run_sql(inbox, "UPDATE webhook_events SET state = 'handled'")
    return ids


async def bodies(inbox: Inbox) -> dict[int, bool]:
    """Whether each record still has its body, by its id."""
    return {row.id: row.body is not None for row in await inboxes.rows_of(inbox, "events", "id, body")}


async def pruned(inbox: Inbox, **given: Any) -> Pruned:
    pruning = Pruning(**{"older_than": MONTH, **given})
    expected = await count(inbox.database, pruning)
    done = await prune(inbox.database, pruning, who="anna", why="tidy")
    assert done == expected
    return done


async def notes(inbox: Inbox) -> list[tuple[str, str, str | None, int]]:
    tables = inbox.database.tables
    entries = await inbox.database.read(lambda connection: audit.newest(connection, tables, limit=99))
    return [(one.action, one.who, one.why, one.affected) for one in entries]


async def test_what_was_said_goes_and_what_happened_stays(inbox: Inbox) -> None:
    body = deliveries.task_body("a", "failed", error="no such file", document_id="d")
    await received(inbox, body)
    failed = run("x", "failed", attempts=8)._replace(error="ValueError: no", traceback="Traceback: no")
    await settled(inbox, 1, "as_runs", failed, run("y"))
    before = await Queries(inbox).get(1)

    assert await pruned(inbox) == Pruned(records=1, bytes=len(body))

    after = await Queries(inbox).get(1)
    assert (after.body, after.error_message, dict(after.headers), after.path, after.query) == (None, None, {}, "", "")
    [row] = await inboxes.rows_of(inbox, "events", "id, data, correlation, headers")
    assert tuple(row) == (1, None, None, "{}")
    for name in ("name", "task_id", "document_id", "state", "sequence", "received_at", "timestamp", "task_key"):
        assert getattr(after, name) == getattr(before, name), name
    assert before.headers
    assert before.path
    assert before.query
    assert [(one.handler, one.state, one.attempts, one.error, one.traceback) for one in after.runs] == [
        ("x", "failed", 8, None, None),
        ("y", "succeeded", 1, None, None),
    ]
    assert await notes(inbox) == [("prune", "anna", "tidy", 1)]
    assert len(await inboxes.rows_of(inbox, "tasks", "key")) == 1


async def test_the_same_delivery_still_is_a_duplicate_and_cannot_be_replayed(inbox: Inbox) -> None:
    body = deliveries.task_body("a")
    await received(inbox, body)
    await settled(inbox, 1, "as_runs", run("x", "failed"))
    await pruned(inbox)

    assert await inboxes.record(inbox, body) == (1, False)
    again = await replay(inbox.database, ReplayCriteria(record_ids=[1]), who="anna")
    assert (again.pruned, again.replayed) == (1, 0)
    assert await dead_letters.retry(inbox.database, DeadLetterFilter(), who="anna") == Retried(pruned=1)
    assert (await Queries(inbox).get(1)).state == "failed"


async def test_what_waits_for_anything_is_kept_however_old(inbox: Inbox) -> None:
    for task in ("stored", "retrying", "stuck", "handled", "failed"):
        await received(inbox, deliveries.task_body(task))
    await inboxes.run_sql(inbox, "UPDATE webhook_events SET task_key = NULL")
    await settled(inbox, 2, "as_runs", run("x", "retrying", delay=60.0), run("y", "failed"))
    await settled(inbox, 3, "as_runs", run("x", "stuck"))
    await settled(inbox, 4, "handled", run("x"))
    await settled(inbox, 5, "as_runs", run("x", "failed"))

    assert (await pruned(inbox, keep_failures=True)).records == 1
    assert await bodies(inbox) == {1: True, 2: True, 3: True, 4: False, 5: True}

    assert (await pruned(inbox)).records == 1
    assert await bodies(inbox) == {1: True, 2: True, 3: True, 4: False, 5: False}


async def test_only_what_is_older_goes_and_it_goes_once(inbox: Inbox) -> None:
    await handled(inbox, LONG_AGO, MONTH + timedelta(minutes=1), MONTH - timedelta(minutes=1), timedelta(0))

    assert [(await pruned(inbox)).records for _ in range(2)] == [2, 0]

    assert await bodies(inbox) == {1: False, 2: False, 3: True, 4: True}
    assert len(await notes(inbox)) == 1


async def test_many_go_in_portions_under_one_entry(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_WINDOW", 5)
    monkeypatch.setattr(retention, "portions", lambda sizes: portions(sizes, most_rows=2))
    await handled(inbox, *[LONG_AGO] * 12)
    told: list[int] = []

    await prune(
        inbox.database, Pruning(older_than=MONTH), who="anna", on_portion=lambda done: told.append(done.records)
    )

    assert told == [2, 4, 5, 7, 9, 10, 12]
    assert await notes(inbox) == [("prune", "anna", None, 12)]
    assert not any((await bodies(inbox)).values())


async def test_it_looks_past_what_is_done_and_what_claims_to_be_of_the_future(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_WINDOW", 2)
    future = -timedelta(days=365)
    await handled(
        inbox, LONG_AGO, LONG_AGO, future, future, LONG_AGO, timedelta(0), timedelta(0), timedelta(0), LONG_AGO
    )
    await inboxes.run_sql(inbox, "UPDATE webhook_events SET body = NULL WHERE id < 3")

    assert (await pruned(inbox)).records == 1

    # The last one is not looked at: two in a row before it are young.
    assert await bodies(inbox) == {1: False, 2: False, 3: True, 4: True, 5: False, 6: True, 7: True, 8: True, 9: True}


async def test_what_is_replayed_in_between_is_left_alone(inbox: Inbox) -> None:
    await handled(inbox, LONG_AGO, LONG_AGO)
    pruning = Pruning(older_than=MONTH)
    at_work = retention._AtWork(inbox.database, pruning, pruning.before, who="anna", why=None)

    assert await replay(inbox.database, ReplayCriteria(record_ids=[1]), who="ben") != Replay()
    assert await at_work.prune([1, 2]) == [2]

    assert await bodies(inbox) == {1: True, 2: False}


async def test_replays_prunings_and_settlements_at_once_end(inbox: Inbox) -> None:
    """All lock what they change in the same order, and nothing that waits is without its body."""
    ids = await stored(inbox, *(f"task-{number}" for number in range(20)))
    for record_id in ids:
        await settled(inbox, record_id, "as_runs", run("x", "failed"), run("y"))
    worker = Worker(inbox, "ann")

    async def working() -> None:
        for record_id in reversed(ids):
            grant = await worker.claim_one(record_id)
            if grant is not None:
                await worker.settle(grant, record_id, run("x", "failed"), outcome="as_runs")

    async def replaying() -> None:
        for _ in range(10):
            await replay(inbox.database, ReplayCriteria(record_ids=ids), who="anna")

    async def pruning() -> None:
        for _ in range(10):
            await prune(inbox.database, Pruning(older_than=timedelta(0)), who="ben")

    await asyncio.gather(working(), replaying(), pruning())

    found = await inboxes.rows_of(inbox, "events", "id, state, body")
    assert all(row.body is not None for row in found if row.state in {"stored", "retrying"})


async def test_one_that_is_interrupted_goes_on_the_next_time(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "portions", lambda sizes: portions(sizes, most_rows=2))
    await handled(inbox, *[LONG_AGO] * 5)

    def interrupt(done: Pruned) -> None:
        if done.records == 4:
            raise InboxUnavailable("gone")

    with pytest.raises(InboxUnavailable):
        await prune(inbox.database, Pruning(older_than=MONTH), who="anna", on_portion=interrupt)

    assert await notes(inbox) == [("prune", "anna", None, 4)]
    assert (await pruned(inbox)).records == 1


async def test_the_quarantine_is_pruned_only_where_that_is_said(inbox: Inbox) -> None:
    for body, ago in ((b"{1", LONG_AGO), (b"{2", timedelta(0))):
        await inbox.quarantine(inboxes.arrival(body)._replace(received_at=now() - ago), DeliveryRejected("x"))

    assert await pruned(inbox) == Pruned()
    assert await pruned(inbox, with_quarantine=True) == Pruned(quarantined=1)

    assert [one.id for one in await quarantine.newest(inbox.database, limit=9)] == [2]
    assert await notes(inbox) == [("quarantine prune", "anna", "tidy", 1)]


async def test_the_state_of_a_task_stays_as_it_was(inbox: Inbox) -> None:
    await stored(inbox, "a")
    await settled(inbox, 1, "handled", run("x"))
    before = await TaskQueries(inbox).get("a", tenant="")

    assert (await pruned(inbox, older_than=timedelta(0))).records == 1

    assert await TaskQueries(inbox).get("a", tenant="") == before


async def test_a_vacuum_gives_the_space_back(inbox: Inbox) -> None:
    for _ in range(40):
        await received(inbox, deliveries.task_body("a", note="x" * 100_000))
    await inboxes.run_sql(inbox, "UPDATE webhook_events SET state = 'handled'")
    await pruned(inbox)

    sizes = await vacuum(inbox.database)

    if inbox.database.is_sqlite:
        assert sizes is not None
        assert sizes[1] < 1_000_000 < sizes[0]
    else:
        assert sizes is None
    assert (await inboxes.record(inbox, deliveries.task_body("a"))).is_new


def test_portions_are_bounded_in_rows_and_in_bytes() -> None:
    sizes = [(1, 5), (2, 5), (3, 1), (4, 99), (5, 0), (6, 0), (7, 0), (8, 0)]

    assert list(portions(sizes, most_rows=3, most_bytes=10)) == [[1, 2], [3], [4], [5, 6, 7], [8]]
    assert list(portions([])) == []


@pytest.mark.parametrize("age", [-timedelta(seconds=1), timedelta.max])
async def test_an_age_that_cannot_be_is_refused(inbox: Inbox, age: timedelta) -> None:
    with pytest.raises(ConfigurationError, match="older_than="):
        await count(inbox.database, Pruning(older_than=age))
