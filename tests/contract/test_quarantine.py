"""The quarantine: filled up to its limits, looked at, taken again, given up."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from datetime import timedelta

import deliveries
import inboxes
import pytest

from morag_client import Settings
from morag_client.errors import DeliveryRejected, InboxUnavailable, RecordNotFound
from morag_client.inbox import audit, quarantine
from morag_client.inbox.inbox import Inbox
from morag_client.inbox.quarantining import QuarantineLimits, Quarantining
from morag_client.inbox.queries import Queries
from morag_client.inbox.rows import Arrival, now, quarantine_row
from morag_client.receiver.quarantine import Retaken, retake
from morag_client.receiver.understanding import understand
from morag_client.wire.delivery import Delivery
from morag_client.wire.identity import delivery_identity

NO_OBJECT = b"[]"


async def put(inbox: Inbox, *bodies: bytes, **more: object) -> None:
    """Bodies that were not understood when they came, whatever they look like today."""
    for body in bodies:
        await inbox.quarantine(arrival(body, **more), DeliveryRejected("it was not understood"))


def arrival(body: bytes, *, tenant: str = "", query: str = "", hours_ago: float = 0.0) -> Arrival:
    headers = ((b"content-type", b"application/json"), (b"user-agent", b"MoRAG \xe9"), (b"authorization", b"Bearer x"))
    delivery = Delivery(body=body, headers=headers, path="/morag/webh\xf6k", query=query)
    identity = delivery_identity(tenant=tenant, body=body, query=query)
    return Arrival(delivery, identity, tenant, now() - timedelta(hours=hours_ago))


async def bodies_of(inbox: Inbox) -> list[bytes]:
    return [bytes(row.body) for row in await inboxes.rows_of(inbox, "quarantine", "id, body")]


async def notes(inbox: Inbox) -> list[tuple[str, str, str | None, object, int]]:
    tables = inbox.database.tables
    entries = await inbox.database.read(lambda connection: audit.newest(connection, tables, limit=99))
    return [(one.action, one.who, one.why, one.criteria, one.affected) for one in entries]


async def test_the_newest_come_first_and_one_is_shown_with_its_body(inbox: Inbox) -> None:
    await put(inbox, b"{1", b"{2", b"{3", tenant="acme", query="a=1")
    await put(inbox, b"{3", tenant="acme", query="a=1")

    listed = await quarantine.newest(inbox.database, limit=2)
    shown = await quarantine.get(inbox.database, 3)

    assert [(one.id, one.body, one.size, one.repeats) for one in listed] == [(3, None, 2, 1), (2, None, 2, 0)]
    assert (shown.body, shown.status, shown.code, shown.problems) == (b"{3", 400, "rejected", ["it was not understood"])
    assert (shown.tenant, shown.path, shown.query) == ("acme", "/morag/webh%C3%B6k", "a=1")
    assert dict(shown.headers) == {"content-type": "application/json", "user-agent": "MoRAG \xe9"}
    assert now() - shown.received_at < timedelta(minutes=1)
    for unknown in (0, 4, 2**70):
        with pytest.raises(RecordNotFound, match=str(unknown)):
            await quarantine.get(inbox.database, unknown)


async def test_discarded_ones_are_gone_and_noted(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "_PAGE", 2)
    await put(inbox, b"{1", b"{2", hours_ago=5)
    await put(inbox, b"{3", b"{4", b"{5")

    assert await quarantine.discard(inbox.database, [2, 99, 2**70, -1], who="anna", why="noise") == 1
    assert await quarantine.discard(inbox.database, before=now() - timedelta(hours=1), who="anna") == 1
    assert await bodies_of(inbox) == [b"{3", b"{4", b"{5"]
    assert await quarantine.discard(inbox.database, who="anna") == 3
    assert await quarantine.discard(inbox.database, who="anna") == 0

    assert await bodies_of(inbox) == []
    [all_of_them, by_time, by_id] = await notes(inbox)
    assert by_id == ("quarantine discard", "anna", "noise", {"ids": [2, 99, 2**70, -1]}, 1)
    assert (by_time[3].keys(), by_time[4], all_of_them[3:]) == ({"before"}, 1, ({}, 3))


async def test_what_is_understood_by_now_becomes_a_record_as_if_it_just_came(inbox: Inbox) -> None:
    started = deliveries.task_body("a", "started")
    await put(inbox, started, tenant="acme", query="document_id=7", hours_ago=5)
    await put(inbox, NO_OBJECT, b'{"event_type": "task_started"}')
    came = (await quarantine.get(inbox.database, 1)).received_at

    assert await retake(inbox, who="anna", why="upgraded") == Retaken(accepted=1, refused=2)

    record = await Queries(inbox).get(1)
    assert (record.name, record.task_id, record.tenant, record.document_id) == ("task.started", "a", "acme", "7")
    assert (record.state, record.body, record.received_at) == ("stored", started, came)
    assert (record.path, record.query) == ("/morag/webh%C3%B6k", "document_id=7")
    assert record.headers == {"content-type": "application/json", "user-agent": "MoRAG \xe9"}
    assert record.task_key == inboxes.row(deliveries.task_body("a"), tenant="acme").task_key
    assert await notes(inbox) == [("quarantine retry", "anna", "upgraded", {}, 1)]
    # the same delivery once more is none
    again = arrival(started, tenant="acme", query="document_id=7")
    assert not (await inbox.record(again, understand(again)[0])).is_new


async def test_what_still_is_not_understood_stays_and_says_why_by_now(inbox: Inbox) -> None:
    await put(inbox, NO_OBJECT, b'{"event_type": "task_started"}')
    await put(inbox, NO_OBJECT)

    assert await retake(inbox, [1, 2, 99], who="anna") == Retaken(refused=2)

    no_object, invalid = [await quarantine.get(inbox.database, one) for one in (1, 2)]
    assert (no_object.status, no_object.code, no_object.repeats) == (400, "malformed_body", 1)
    assert (invalid.status, invalid.code) == (422, "invalid_payload")
    assert invalid.problems != ["it was not understood"]
    assert (await notes(inbox), await inboxes.rows_of(inbox, "events", "id")) == ([], [])


async def test_only_those_that_are_meant_are_taken(inbox: Inbox) -> None:
    await put(inbox, deliveries.task_body("a"), deliveries.task_body("b"))

    assert await retake(inbox, [2], who="anna") == Retaken(accepted=1)
    assert await retake(inbox, [], who="anna") == Retaken()

    assert [row.task_id for row in await inboxes.rows_of(inbox, "events", "id, task_id")] == ["b"]
    assert [one.id for one in await quarantine.newest(inbox.database, limit=9)] == [1]


async def test_what_was_sent_again_meanwhile_is_no_second_record(inbox: Inbox) -> None:
    body = deliveries.task_body("a")
    await inboxes.quarantine(inbox, body, "it was not understood")
    await inboxes.record(inbox, body)

    assert await retake(inbox, who="anna") == Retaken(known=1)

    assert (await bodies_of(inbox), len(await inboxes.rows_of(inbox, "events", "id"))) == ([], 1)


async def test_a_retry_that_ends_between_storing_and_leaving_loses_and_doubles_nothing(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(inbox, deliveries.task_body("a"), deliveries.task_body("b"), NO_OBJECT)
    table, kind = inbox.database.tables.quarantine.name, inbox.database.is_sqlite
    refuse = f"CREATE TRIGGER stop BEFORE DELETE ON {table} "
    if kind:
        await inboxes.run_sql(inbox, f"{refuse} BEGIN SELECT RAISE(ABORT, 'ended'); END")
    else:
        function = "CREATE FUNCTION stop() RETURNS trigger AS $$ BEGIN RAISE EXCEPTION 'ended'; END $$ LANGUAGE plpgsql"
        await inboxes.run_sql(inbox, function, f"{refuse} FOR EACH ROW EXECUTE FUNCTION stop()")

    with pytest.raises(InboxUnavailable, match="ended"):
        await retake(inbox, who="anna")

    assert (len(await bodies_of(inbox)), len(await inboxes.rows_of(inbox, "events", "id"))) == (3, 2)
    await inboxes.run_sql(inbox, "DROP TRIGGER stop" + ("" if kind else f" ON {table}"))
    assert await retake(inbox, who="anna") == Retaken(known=2, refused=1)
    assert (await bodies_of(inbox), len(await inboxes.rows_of(inbox, "events", "id"))) == ([NO_OBJECT], 2)


async def test_where_nothing_can_be_stored_all_stay_and_it_says_so(inbox: Inbox) -> None:
    await put(inbox, deliveries.task_body("a"), NO_OBJECT)
    await inbox._writer.close()

    with pytest.raises(InboxUnavailable, match="closed"):
        await retake(inbox, who="anna")

    assert [(one.id, one.code) for one in await quarantine.newest(inbox.database, limit=9)] == [
        (2, "malformed_body"),
        (1, "rejected"),
    ]


async def test_what_the_database_refuses_stays_and_is_no_repetition(inbox: Inbox) -> None:
    await put(inbox, deliveries.task_body("a"), deliveries.task_body("refused"))
    events = inbox.database.tables.events.name
    if inbox.database.is_sqlite:
        refuse = f"CREATE TRIGGER no BEFORE INSERT ON {events} WHEN NEW.task_id = 'refused' "
        await inboxes.run_sql(inbox, f"{refuse} BEGIN SELECT RAISE(ABORT, 'no such task'); END")
    else:
        await inboxes.run_sql(inbox, f"ALTER TABLE {events} ADD CONSTRAINT no CHECK (task_id <> 'refused')")

    assert await retake(inbox, who="anna") == Retaken(accepted=1, refused=1)

    [left] = await quarantine.newest(inbox.database, limit=9)
    assert (left.code, left.repeats) == ("rejected", 0)
    assert left.problems[0].startswith("the database refused it: ")


async def test_retries_at_once_make_one_record_of_each(inbox: Inbox, database_url: str) -> None:
    await put(inbox, *(deliveries.task_body(f"task-{number}") for number in range(300)))

    async with inboxes.opened(database_url) as other:
        done = await asyncio.gather(retake(inbox, who="anna"), retake(other, who="ben"))

    assert sum(one.accepted for one in done) == 300
    assert (await bodies_of(inbox), len(await inboxes.rows_of(inbox, "events", "id"))) == ([], 300)


class Clock:
    """Stands still until it is told otherwise."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
async def clock() -> AsyncIterator[Clock]:
    return Clock()


def limited(inbox: Inbox, clock: Clock, **limits: int) -> Quarantining:
    return Quarantining(inbox.database, QuarantineLimits(**limits), clock=clock)


async def keep(quarantining: Quarantining, body: bytes) -> bool:
    row = quarantine_row(arrival(body), status=400, code="x", problems=["x"])
    return await quarantining.keep(row, patience=3.0)


async def test_at_its_limit_what_is_there_stays_and_what_comes_is_turned_away(
    inbox: Inbox, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    quarantining = limited(inbox, clock, deliveries=2)

    kept = [await keep(quarantining, body) for body in (b"1", b"1", b"2", b"3", b"4", b"2")]

    assert kept == [True, True, True, False, False, True]
    repeats = [(bytes(row.body), row.repeats) for row in await inboxes.rows_of(inbox, "quarantine", "id,body,repeats")]
    assert repeats == [(b"1", 1), (b"2", 1)]
    assert quarantining.turned_away == 2
    [said] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "full (2 deliveries, 2 bytes): 1 more" in said.getMessage()


async def test_it_complains_once_a_minute_and_of_all(
    inbox: Inbox, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    quarantining = limited(inbox, clock, deliveries=1)
    for number in range(9):
        await keep(quarantining, b"%d" % number)
        clock.seconds += 10.0

    said = [record.getMessage() for record in caplog.records]

    assert [int(message.partition("): ")[2].split()[0]) for message in said] == [1, 6]


async def test_the_bytes_of_all_bodies_are_limited_too(inbox: Inbox, clock: Clock) -> None:
    quarantining = limited(inbox, clock, bytes=10)

    assert [await keep(quarantining, body) for body in (b"1" * 6, b"2" * 5, b"3" * 4, b"4")] == [
        True,
        False,
        True,
        False,
    ]


async def test_room_that_somebody_made_is_used_a_moment_later(inbox: Inbox, clock: Clock) -> None:
    quarantining = limited(inbox, clock, deliveries=2)
    for body in (b"1", b"2", b"3"):
        await keep(quarantining, body)

    await quarantine.discard(inbox.database, [1], who="anna")
    clock.seconds += 0.2

    assert [await keep(quarantining, body) for body in (b"3", b"4")] == [True, False]


async def test_what_other_processes_keep_counts_after_a_second(inbox: Inbox, clock: Clock) -> None:
    ours, theirs = limited(inbox, clock, deliveries=3), limited(inbox, clock, deliveries=3)
    await keep(ours, b"1")
    assert [await keep(theirs, body) for body in (b"2", b"3")] == [True, True]

    clock.seconds += 1.1

    assert not await keep(ours, b"4")


async def test_repetitions_take_no_room(inbox: Inbox, clock: Clock) -> None:
    quarantining = limited(inbox, clock, deliveries=2)

    assert all([await keep(quarantining, b"1") for _ in range(5)])
    assert await keep(quarantining, b"2")


async def test_an_inbox_has_the_limits_that_it_is_given(database_url: str) -> None:
    async with inboxes.opened(database_url, quarantine_limits=QuarantineLimits(deliveries=1)) as inbox:
        assert [await inbox.quarantine(arrival(body), DeliveryRejected("x")) for body in (b"1", b"2")] == [True, False]
        assert inbox.quarantining.turned_away == 1


def test_the_limits_are_those_of_the_settings() -> None:
    settings = Settings.load()
    assert QuarantineLimits(settings.quarantine_limit, settings.quarantine_bytes) == QuarantineLimits()


async def test_problems_are_kept_as_json(inbox: Inbox) -> None:
    await put(inbox, NO_OBJECT)
    await retake(inbox, who="anna")

    [row] = await inboxes.rows_of(inbox, "quarantine", "id, problems")
    assert json.loads(row.problems) == list((await quarantine.get(inbox.database, 1)).problems)
