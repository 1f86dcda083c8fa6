"""Dead letters: found, looked at, retried and given up."""

from __future__ import annotations

import inboxes
import pytest
from workers import run, settled, stored

from morag_client.errors import RecordNotFound
from morag_client.inbox import audit, dead_letters
from morag_client.inbox.dead_letters import DeadLetterFilter, Retried
from morag_client.inbox.inbox import Inbox
from morag_client.inbox.orphans import adopt
from morag_client.inbox.queries import Queries

EVERYTHING = DeadLetterFilter()


@pytest.fixture(autouse=True)
async def records(inbox: Inbox) -> None:
    """Dead letters 1 (x of record 1), 3 (y of record 2) and 4 (x of record 3); run 2 succeeded."""
    await stored(inbox, "a", "b", None)
    await settled(inbox, 1, "as_runs", failed("x"), run("y"))
    await settled(inbox, 2, "as_runs", failed("y"))
    await settled(inbox, 3, "as_runs", failed("x"))


def failed(handler: str) -> run:
    return run(handler, "failed", attempts=8)._replace(error="ValueError: no", traceback="Traceback: no")


async def listed(inbox: Inbox, *, limit: int = 9, **wanted: object) -> list[int]:
    return [one.id for one in await dead_letters.newest(inbox.database, DeadLetterFilter(**wanted), limit=limit)]


async def states(inbox: Inbox) -> list[str]:
    return [row.state for row in await inboxes.rows_of(inbox, "events", "id, state")]


async def notes(inbox: Inbox) -> list[tuple[str, str, str | None, object, int]]:
    tables = inbox.database.tables
    entries = await inbox.database.read(lambda connection: audit.newest(connection, tables, limit=99))
    return [(one.action, one.who, one.why, one.criteria, one.affected) for one in entries]


async def test_the_newest_come_first_and_can_be_chosen(inbox: Inbox) -> None:
    assert await listed(inbox) == [4, 3, 1]
    assert await listed(inbox, limit=2) == [4, 3]
    assert await listed(inbox, handler="x") == [4, 1]
    assert await listed(inbox, task_id="a") == [1]
    assert await listed(inbox, name="task") == [3, 1]
    assert await listed(inbox, ids=[2, 3, 99, -1, 2**70]) == [3]
    assert await listed(inbox, handler="x", name="unknown") == [4]


async def test_one_is_shown_with_all_that_is_known(inbox: Inbox) -> None:
    [*_, first] = await dead_letters.newest(inbox.database, EVERYTHING, limit=9)
    letter = await dead_letters.get(inbox.database, 1)

    assert (letter.record_id, letter.event_name, letter.task_id, letter.handler) == (1, "task.started", "a", "x")
    assert (letter.attempts, letter.error, letter.traceback) == (8, "ValueError: no", "Traceback: no")
    assert letter.finished_at is not None
    assert first.traceback is None
    for other in (2, 99, 0, 2**80):  # the second run is none that gave up
        with pytest.raises(RecordNotFound, match=str(other)):
            await dead_letters.get(inbox.database, other)


async def test_ids_that_are_no_dead_letter_are_told(inbox: Inbox) -> None:
    assert await dead_letters.missing(inbox.database, [99, 1, 2, -1, 2**70, 4, 99]) == [99, 2, -1, 2**70]
    assert await dead_letters.missing(inbox.database, []) == []


async def test_a_retried_one_has_all_its_attempts_again(inbox: Inbox) -> None:
    done = await dead_letters.retry(inbox.database, DeadLetterFilter(ids=[1, 2]), who="anna", why="fixed")

    assert done == Retried(retried=1)
    runs = {one.handler: one for one in (await Queries(inbox).get(1)).runs}
    assert (runs["x"].state, runs["x"].attempts, runs["x"].error) == ("retrying", 0, "ValueError: no")
    assert (runs["y"].state, runs["y"].attempts) == ("succeeded", 1)
    assert await states(inbox) == ["retrying", "failed", "failed"]
    assert await Queries(inbox).due_ids(after=0, limit=9) == [1]
    assert await notes(inbox) == [("dead-letters retry", "anna", "fixed", {"ids": [1, 2]}, 1)]
    assert await dead_letters.retry(inbox.database, DeadLetterFilter(ids=[1, 2]), who="anna") == Retried()


async def test_all_of_a_kind_are_retried_in_batches(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "BATCH", 1)
    told: list[int] = []
    wanted = DeadLetterFilter(handler="x")

    assert await dead_letters.count(inbox.database, wanted) == 2
    assert await dead_letters.retry(inbox.database, wanted, who="anna", on_batch=told.append) == Retried(retried=2)

    assert told == [1, 1]
    assert await dead_letters.count(inbox.database, EVERYTHING) == 1
    assert await listed(inbox) == [3]
    assert [note[4] for note in await notes(inbox)] == [2]


async def test_without_a_body_there_is_nothing_to_retry(inbox: Inbox) -> None:
    await inboxes.run_sql(inbox, "UPDATE webhook_events SET body = NULL WHERE id = 1")

    assert await dead_letters.retry(inbox.database, EVERYTHING, who="anna") == Retried(retried=2, pruned=1)

    assert await states(inbox) == ["failed", "retrying", "retrying"]


async def test_a_discarded_one_is_no_dead_letter_any_more_and_keeps_its_error(inbox: Inbox) -> None:
    assert await dead_letters.discard(inbox.database, DeadLetterFilter(ids=[1]), who="anna", why="test data") == 1

    assert await listed(inbox) == [4, 3]
    assert await states(inbox) == ["handled", "failed", "failed"]
    runs = {one.handler: one for one in (await Queries(inbox).get(1)).runs}
    assert (runs["x"].state, runs["x"].attempts, runs["x"].error) == ("discarded", 8, "ValueError: no")
    assert await notes(inbox) == [("dead-letters discard", "anna", "test data", {"ids": [1]}, 1)]


async def test_a_record_is_failed_until_its_last_dead_letter_is_discarded(inbox: Inbox) -> None:
    await inboxes.run_sql(inbox, "UPDATE webhook_handler_runs SET state = 'failed' WHERE id = 2")

    await dead_letters.discard(inbox.database, DeadLetterFilter(ids=[1]), who="anna")
    first = await states(inbox)
    await dead_letters.discard(inbox.database, DeadLetterFilter(handler="y"), who="anna")

    assert (first, await states(inbox)) == (["failed"] * 3, ["handled", "handled", "failed"])


async def test_what_still_is_on_its_way_stays_so(inbox: Inbox) -> None:
    await inboxes.run_sql(inbox, "UPDATE webhook_events SET state = 'stored' WHERE id < 3")

    await dead_letters.retry(inbox.database, DeadLetterFilter(ids=[1]), who="anna")
    await dead_letters.discard(inbox.database, DeadLetterFilter(ids=[3]), who="anna")

    assert await states(inbox) == ["stored", "stored", "failed"]
    assert await listed(inbox) == [4]


async def test_listing_uses_the_index_of_dead_letters(inbox: Inbox) -> None:
    if not inbox.database.is_sqlite:
        pytest.skip("PostgreSQL's plan depends on how many rows there are")
    statement = dead_letters._select(inbox.database, traceback=False).where(
        *dead_letters._conditions(inbox.database, EVERYTHING)
    )
    sql = str(statement.compile(inbox.database.engine.sync_engine, compile_kwargs={"literal_binds": True}))
    plan = await inbox.database.read(lambda connection: list(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}")))

    assert any("webhook_handler_runs_dead" in row[-1] for row in plan), plan


async def test_an_orphan_is_listed_for_itself_and_retried_or_discarded_like_a_dead_letter(inbox: Inbox) -> None:
    await inboxes.run_sql(
        inbox,
        "UPDATE webhook_handler_runs SET state = 'orphaned' WHERE id IN (1, 4)",
        "UPDATE webhook_events SET state = 'retrying' WHERE id IN (1, 3)",
    )
    database = inbox.database

    assert await listed(inbox) == [3]
    assert await listed(inbox, orphaned=True) == [4, 1]
    assert await listed(inbox, orphaned=True, handler="y") == []
    assert await listed(inbox, ids=[1, 3]) == [3, 1]
    assert (await dead_letters.get(database, 1)).state == "orphaned"
    assert await dead_letters.missing(database, [1, 2, 3]) == [2]

    assert await dead_letters.retry(database, DeadLetterFilter(ids=[1]), who="anna") == Retried(retried=1)
    assert await dead_letters.discard(database, DeadLetterFilter(orphaned=True), who="anna", why="renamed") == 1

    assert [(run.handler, run.state) for run in (await Queries(inbox).get(1)).runs][:1] == [("x", "retrying")]
    assert [run.state for run in (await Queries(inbox).get(3)).runs] == ["discarded"]
    assert await states(inbox) == ["retrying", "failed", "handled"]
    assert await Queries(inbox).due_ids(after=0, limit=9) == [1]
    assert [note[3] for note in await notes(inbox)] == [{"orphaned": True}, {"ids": [1]}]


async def test_a_worker_that_has_the_handler_adopts_its_orphans(inbox: Inbox) -> None:
    await inboxes.run_sql(inbox, "UPDATE webhook_handler_runs SET state = 'orphaned' WHERE id IN (1, 3, 4)")

    assert await adopt(inbox.database, []) == await adopt(inbox.database, ["z"]) == 0
    assert await adopt(inbox.database, ["x", "z"]) == 2
    assert await adopt(inbox.database, ["x", "z"]) == 0

    assert await Queries(inbox).due_ids(after=0, limit=9) == [1, 3]
    assert await listed(inbox, orphaned=True) == [3]
