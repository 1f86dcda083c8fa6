"""Handling stored events again: which, how many, and what becomes of their runs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import deliveries
import inboxes
import pytest
from sqlalchemy import select
from workers import Worker, run, settled, stored

from morag_client.errors import ConfigurationError, RecordNotFound
from morag_client.events.catalog import canonical_pattern, matches
from morag_client.inbox import audit
from morag_client.inbox.inbox import Inbox
from morag_client.inbox.queries import Queries
from morag_client.inbox.reopening import name_matches
from morag_client.inbox.replay_criteria import Replay, ReplayCriteria
from morag_client.inbox.replaying import count, missing, replay, replay_one
from morag_client.inbox.rows import now


async def replayed(inbox: Inbox, **criteria: Any) -> Replay:
    """What the replay says it did, without names; a dry run just before has said the same."""
    dry = await count(inbox.database, ReplayCriteria(**criteria))
    done = await replay(inbox.database, ReplayCriteria(**criteria), who="anna", why="fixed")
    assert dry == replace(done, handlers=())
    return dry


async def states(inbox: Inbox) -> dict[int, str]:
    return dict(tuple(row) for row in await inboxes.rows_of(inbox, "events", "id, state"))


async def runs(inbox: Inbox, record_id: int) -> dict[str, tuple[str, int, bool]]:
    """State, attempts and whether it is due, by handler."""
    found = {one.handler: one for one in (await Queries(inbox).get(record_id)).runs}
    return {
        name: (one.state, one.attempts, one.next_attempt_at is not None and one.next_attempt_at <= now())
        for name, one in found.items()
    }


async def notes(inbox: Inbox) -> list[audit.AuditEntry]:
    return await inbox.database.read(lambda connection: audit.newest(connection, inbox.database.tables, limit=99))


async def test_only_what_failed_runs_again_with_all_its_attempts(inbox: Inbox) -> None:
    await stored(inbox, "a")
    await settled(inbox, 1, "as_runs", run("x", "failed", attempts=8), run("y"))

    assert await replayed(inbox, record_ids=[1]) == Replay(replayed=1)

    assert await runs(inbox, 1) == {"x": ("retrying", 0, True), "y": ("succeeded", 1, False)}
    assert await states(inbox) == {1: "retrying"}
    assert await Queries(inbox).due_ids(after=0, limit=9) == [1]


async def test_where_nothing_failed_every_handler_runs_again(inbox: Inbox) -> None:
    await stored(inbox, "a", "b")
    await settled(inbox, 1, "handled", run("x"), run("y"))
    await settled(inbox, 2, "handled", run("x"))

    assert await replayed(inbox, task_id="a") == Replay(replayed=1)

    assert (await states(inbox), await runs(inbox, 1)) == ({1: "stored", 2: "handled"}, {})
    grant = await Worker(inbox, "other").claim_one(1)
    assert grant is None or [granted.is_retry for granted in grant.records] == [False]


async def test_one_handler_runs_again_and_no_other(inbox: Inbox) -> None:
    await stored(inbox, "a", "b")
    await settled(inbox, 1, "handled", run("x"), run("y"))
    await settled(inbox, 2, "as_runs", run("y", "failed"))

    assert await replayed(inbox, name="*", handler="x") == Replay(replayed=2)

    assert await runs(inbox, 1) == {"x": ("retrying", 0, True), "y": ("succeeded", 1, False)}
    assert await runs(inbox, 2) == {"x": ("retrying", 0, True), "y": ("failed", 1, False)}
    assert await states(inbox) == {1: "retrying", 2: "retrying"}


async def test_what_waits_for_its_next_attempt_comes_now(inbox: Inbox) -> None:
    await stored(inbox, "a")
    await settled(inbox, 1, "as_runs", run("x", "retrying", attempts=3, delay=600.0), run("y", "failed"))

    assert await replayed(inbox, record_ids=[1]) == Replay(brought_forward=1)

    assert await runs(inbox, 1) == {"x": ("retrying", 3, True), "y": ("retrying", 0, True)}


async def test_what_is_on_its_way_is_left_alone(inbox: Inbox) -> None:
    await stored(inbox, "a")

    assert await replayed(inbox, record_ids=[1]) == Replay(waiting=1)
    assert await replayed(inbox, record_ids=[1], handler="x") == Replay(waiting=1)

    assert (await states(inbox), await runs(inbox, 1), await notes(inbox)) == ({1: "stored"}, {}, [])


async def test_what_has_no_body_any_more_cannot_be_replayed(inbox: Inbox) -> None:
    await stored(inbox, "a")
    await settled(inbox, 1, "as_runs", run("x", "failed"))
    await inboxes.run_sql(inbox, "UPDATE webhook_events SET body = NULL")

    assert await replayed(inbox, record_ids=[1]) == Replay(pruned=1)

    assert (await states(inbox), await notes(inbox)) == ({1: "failed"}, [])


async def test_records_are_chosen_by_everything_that_is_given(inbox: Inbox) -> None:
    ids = await stored(inbox, "a", "b", "a", None)
    for record_id in ids:
        await settled(inbox, record_id, "handled", run("x"))
    await settled_as_failed(inbox, 2)
    [(first,)] = await moments(inbox, 1)
    dry = {
        "everything": {"name": "*"},
        "task": {"task_id": "a"},
        "state": {"state": "failed"},
        "name": {"name": "task_started"},
        "ids": {"record_ids": [1, 4, 77, 2**70, -1]},
        "task and ids": {"task_id": "a", "record_ids": [3, 4]},
        "since": {"since": first + timedelta(microseconds=1)},
        "until": {"until": first + timedelta(microseconds=1)},
        "nothing": {"since": now() + timedelta(hours=1)},
    }

    found = {what: (await count(inbox.database, ReplayCriteria(**given))).replayed for what, given in dry.items()}

    assert found == {
        "everything": 4,
        "task": 2,
        "state": 1,
        "name": 3,
        "ids": 2,
        "task and ids": 1,
        "since": 3,
        "until": 1,
        "nothing": 0,
    }


async def settled_as_failed(inbox: Inbox, record_id: int) -> None:
    await inboxes.run_sql(inbox, f"UPDATE webhook_events SET state = 'failed' WHERE id = {record_id}")  # noqa: S608


async def moments(inbox: Inbox, record_id: int) -> list[Any]:
    events = inbox.database.tables.events
    statement = select(events.c.received_at).where(events.c.id == record_id)
    return await inbox.database.read(lambda connection: list(connection.execute(statement).all()))


@pytest.mark.parametrize(
    "pattern",
    ["*", "chunking", "chunking.*", "*.failed", "task_completed", "c*g.f*d", "a_b.*", "[a]*", "?", "A%", "\\*"],
)
async def test_a_pattern_means_what_it_means_to_on(inbox: Inbox, pattern: str) -> None:
    names = ["chunking.failed", "chunking.started", "Chunking.failed", "task.completed", "a_b.failed", "axb.failed"]
    names += ["[a].x", "a.x", "?", "x", "A%", "AB", "\\x", "unknown"]
    events = inbox.database.tables.events
    for _ in names:
        await inboxes.record(inbox, deliveries.task_body())
    for number, name in enumerate(names, start=1):
        statement = events.update().where(events.c.id == number).values(name=name)
        await inbox.database.write(lambda connection, statement=statement: connection.execute(statement).rowcount)
    statement = select(events.c.name).where(name_matches(inbox.database, events.c.name, pattern)).order_by(events.c.id)

    found = await inbox.database.read(lambda connection: list(connection.execute(statement).scalars()))

    assert found == [name for name in names if matches(canonical_pattern(pattern), name)]


async def test_many_are_replayed_in_batches_under_one_note(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("morag_client.inbox.replaying._WINDOW", 4)
    monkeypatch.setattr("morag_client.inbox.replaying.BATCH", 3)
    for record_id in await stored(inbox, *(f"task-{number}" for number in range(9))):
        await settled(inbox, record_id, "as_runs", run("x", "failed"))

    told: list[tuple[int, list[int]]] = []
    criteria = ReplayCriteria(name="task.*", since=now() - timedelta(hours=1))

    done = await replay(
        inbox.database,
        criteria,
        who="anna",
        why="fixed",
        on_batch=lambda batch, ids: told.append((batch.replayed, list(ids))),
    )

    assert done == Replay(replayed=9)
    assert told == [(3, [1, 2, 3]), (1, [4]), (3, [5, 6, 7]), (1, [8]), (1, [9])]
    assert set((await states(inbox)).values()) == {"retrying"}
    [entry] = await notes(inbox)
    assert (entry.action, entry.who, entry.why, entry.affected) == ("replay", "anna", "fixed", 9)
    assert set(entry.criteria) == {"name", "since"}
    assert len(await inboxes.rows_of(inbox, "events", "id")) == 9


async def test_a_single_record_says_which_handlers_run_again(inbox: Inbox) -> None:
    await stored(inbox, "a", "b")
    await settled(inbox, 1, "as_runs", run("x", "failed"), run("y"))
    await settled(inbox, 2, "handled", run("x"), run("y"))

    again = [(await replay_one(inbox.database, record_id, who="anna")).handlers for record_id in (1, 2, 2)]

    assert again == [("x",), ("x", "y"), ()]
    for unknown in (99, 0, 2**80):
        with pytest.raises(RecordNotFound, match=str(unknown)):
            await replay_one(inbox.database, unknown, who="anna")


async def test_ids_that_nothing_has_are_told(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("morag_client.inbox.replaying._WINDOW", 2)
    await stored(inbox, "a", "b", "c")

    assert await missing(inbox.database, [3, 99, 1, 0, -5, 2**70, 2, 99]) == [99, 0, -5, 2**70]
    assert await missing(inbox.database, []) == []


async def test_replays_and_settlements_at_once_end(inbox: Inbox) -> None:
    """Both lock what they change in the same order."""
    ids = await stored(inbox, *(f"task-{number}" for number in range(20)))
    for record_id in ids:
        await settled(inbox, record_id, "as_runs", run("x", "failed"), run("y", "retrying", delay=0.0))

    async def settling() -> None:
        for record_id in reversed(ids):
            await settled(inbox, record_id, "as_runs", run("y", "retrying", attempts=2, delay=0.0))

    async def replaying() -> None:
        for _ in range(10):
            await replay(inbox.database, ReplayCriteria(record_ids=ids), who="anna")

    await asyncio.gather(settling(), replaying())

    assert {(await runs(inbox, record_id))["x"][0] for record_id in ids} == {"retrying"}


@pytest.mark.parametrize("given", [{}, {"handler": "x"}, {"state": "lost"}, {"since": now().replace(tzinfo=None)}])
def test_criteria_that_mean_nothing_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"say which|state|time zone"):
        ReplayCriteria(**given)
