"""A batch is stored as a whole and in the order of its arrival, whatever of it is known and whoever else is at it."""

from __future__ import annotations

import asyncio
import os
import random

import databases
import deliveries
import inboxes
import pytest

from morag_client.errors import DeliveryRejected
from morag_client.inbox.database import Database
from morag_client.inbox.inbox import Inbox
from morag_client.inbox.location import locate
from morag_client.inbox.queries import Queries
from morag_client.inbox.rows import EventRow

TRIGGER = {
    "sqlite": ["CREATE TRIGGER no BEFORE INSERT ON webhook_events WHEN {} BEGIN SELECT RAISE(ABORT, 'not this'); END"],
    "postgres": [
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not this'; END $$",
        "CREATE TRIGGER no BEFORE INSERT ON webhook_events FOR EACH ROW WHEN ({}) EXECUTE FUNCTION no()",
    ],
}


def refuse(database: databases.TestDatabase, condition: str) -> None:
    """Lets the database refuse rows for which a condition holds."""
    database.execute(*(statement.format(condition) for statement in TRIGGER[database.kind]))


def rows(count: int) -> list[EventRow]:
    """Rows whose identities, as always, have nothing to do with their order."""
    base = inboxes.row(deliveries.task_body())
    return [base._replace(identity=os.urandom(16)) for _ in range(count)]


async def test_batches_of_new_and_known_rows_of_every_size(inbox: Inbox) -> None:
    known: dict[bytes, int] = {}
    for size in (1, 2, 3, 63, 64, 65, 200):
        old = list(known)[: size // 2]
        bodies = [*old, *(deliveries.task_body() for _ in range(size - len(old)))]
        bodies = bodies[::2] + bodies[1::2]

        stored = await asyncio.gather(*(inboxes.record(inbox, body) for body in bodies))

        for body, one in zip(bodies, stored, strict=True):
            assert one.is_new is (body not in known)
            assert known.setdefault(body, one.record_id) == one.record_id
    assert sorted(known.values()) == list(range(1, len(known) + 1))
    records = {record.id: record.body for record in await Queries(inbox).received(limit=1000, most_bytes=10**9)}
    assert records == {record_id: body for body, record_id in known.items()}


async def test_ids_are_in_the_order_of_arrival_and_duplicates_use_none_up(inbox: Inbox) -> None:
    insertion = inbox._insertion()
    first, second = rows(200), rows(100)

    assert await insertion.insert(first) == [(number, True) for number in range(1, 201)]
    mixed = await insertion.insert([row for pair in zip(first, second, strict=False) for row in pair])
    await insertion.close()

    assert mixed[0::2] == [(number, False) for number in range(1, 101)]
    assert mixed[1::2] == [(number, True) for number in range(201, 301)]


async def test_the_same_rows_in_any_order_from_several_at_once(database_url: str, inbox: Inbox) -> None:
    others = [Database(locate(database_url)) for _ in range(3)]
    insertions = [inboxes.insertion_into(one) for one in (inbox.database, *others)]
    try:
        for _ in range(20):
            batch = rows(100)
            orders = [random.sample(batch, len(batch)) for _ in insertions]

            answers = await asyncio.gather(
                *(insertion.insert(order) for insertion, order in zip(insertions, orders, strict=True))
            )

            by_identity = [
                dict(zip((row.identity for row in order), answer, strict=True))
                for order, answer in zip(orders, answers, strict=True)
            ]
            for row in batch:
                ids, news = zip(*(found[row.identity] for found in by_identity), strict=True)
                assert len(set(ids)) == 1
                assert sum(news) == 1
    finally:
        for insertion in insertions:
            await insertion.close()
        for one in others:
            await one.close()


@pytest.mark.parametrize("commits", [True, False])
async def test_a_row_that_somebody_else_is_just_inserting(database_url: str, inbox: Inbox, commits: bool) -> None:
    insertion, other = inbox._insertion(), Database(locate(database_url))
    batch = rows(5)
    async with other.engine.connect() as connection:
        transaction = await connection.begin()
        await connection.execute(other.tables.events.insert().values(batch[2]._asdict()))
        inserting = asyncio.create_task(insertion.insert(batch))
        await asyncio.sleep(0.3)
        assert not inserting.done()  # whether it is known cannot be said yet

        await (transaction.commit() if commits else transaction.rollback())

    stored = await inserting
    await insertion.close()
    await other.close()
    assert [is_new for _, is_new in stored] == [True, True, not commits, True, True]
    assert [row.id for row in await inboxes.rows_of(inbox, "events", "id, identity")] == sorted(dict(stored))
    found = {row.identity: row.id for row in await inboxes.rows_of(inbox, "events", "id, identity")}
    assert [found[row.identity] for row in batch] == [record_id for record_id, _ in stored]


async def test_one_row_that_is_refused_does_not_keep_the_others_out(
    database: databases.TestDatabase, inbox: Inbox
) -> None:
    refuse(database, "NEW.task_id = 'task-20'")
    bodies = [deliveries.task_body(f"task-{number}") for number in range(64)]

    results = await asyncio.gather(*(inboxes.record(inbox, body) for body in bodies), return_exceptions=True)

    refused = results.pop(20)
    assert isinstance(refused, DeliveryRejected)
    assert "not this" in str(refused)
    assert [result.is_new for result in results] == [True] * 63
    assert len({result.record_id for result in results}) == 63
    assert len(await inboxes.rows_of(inbox, "events", "id")) == 63
    [row] = await inboxes.rows_of(inbox, "quarantine", "id, body, problems")
    assert row.body == bodies[20]
    assert "not this" in row.problems


async def test_beside_refused_rows_one_is_told_of_new_records_in_order(database: databases.TestDatabase) -> None:
    told: list[int] = []
    async with inboxes.opened(database.url, on_stored=lambda record_id, _: told.append(record_id)) as inbox:
        refuse(database, "NEW.task_id = 'bad'")
        bodies = [deliveries.task_body("bad" if number % 7 == 3 else "good") for number in range(100)]

        await asyncio.gather(*(inboxes.record(inbox, body, note=1) for body in bodies), return_exceptions=True)

    assert len(told) == 86
    assert told == sorted(told)
    assert told == [record_id for (record_id,) in database.query("SELECT id FROM webhook_events ORDER BY id")]


async def test_what_cannot_be_encoded_is_one_rows_fault(inbox: Inbox) -> None:
    good, lone = inboxes.row(deliveries.task_body()), inboxes.row(deliveries.task_body())._replace(step="\ud800")

    results = await asyncio.gather(
        inbox.record(inboxes.arrival(good.body), good),
        inbox.record(inboxes.arrival(lone.body), lone),
        return_exceptions=True,
    )

    assert results[0].is_new
    assert isinstance(results[1], DeliveryRejected)
    assert len(await inboxes.rows_of(inbox, "quarantine", "id")) == 1
