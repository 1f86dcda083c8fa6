"""What the dashboard asks: right, and from an index or within a window, on each database."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import databases
import filling
import inboxes
import pytest
from sqlalchemy import event

from morag_client.inbox import backlog, dead_letters, event_listing, quarantine, task_listing
from morag_client.inbox.activity import Activity
from morag_client.inbox.dead_letters import DeadLetterFilter
from morag_client.inbox.inbox import Inbox
from morag_client.inbox.queries import Queries

TASKS = 20_000
NOW = datetime.now(UTC)

ASKED: dict[str, Callable[[Inbox], Any]] = {
    "activity": lambda inbox: Activity(inbox.database).between(minutes(60), now=NOW, patience=9),
    "backlog": lambda inbox: backlog.backlog_of(inbox.database, patience=9),
    "standing": lambda inbox: task_listing.standing(inbox.database, silent_since=NOW, patience=9),
    "newest tasks": lambda inbox: task_listing.page(inbox.database, limit=50, patience=9),
    "tasks by state": lambda inbox: task_listing.page(inbox.database, limit=50, states=("failed",), patience=9),
    "tasks in flight": lambda inbox: task_listing.page(inbox.database, limit=50, states=task_listing.OPEN, patience=9),
    "stalled tasks": lambda inbox: task_listing.page(inbox.database, limit=50, silent_since=NOW, patience=9),
    "tasks of a document": lambda inbox: task_listing.page(
        inbox.database, limit=50, document_id="document-7", states=("completed",), patience=9
    ),
    "search": lambda inbox: task_listing.search(inbox.database, "task-19999", limit=50, patience=9),
    "steps": lambda inbox: task_listing.completed_steps(inbox.database, tasks=2000, patience=9),
    "a task": lambda inbox: task_listing.get(inbox.database, b"0000000000000007", patience=9),
    "events of a task": lambda inbox: Queries(inbox).of_task(b"0000000000000007", limit=500),
    "an event": lambda inbox: Queries(inbox).get(7),
    "events": lambda inbox: event_listing.page(inbox.database, limit=50, patience=9),
    "events by state": lambda inbox: event_listing.page(inbox.database, limit=50, state="failed", patience=9),
    "events by name": lambda inbox: event_listing.page(inbox.database, limit=50, name="nothing.*", patience=9),
    "handled events": lambda inbox: event_listing.page(inbox.database, limit=50, state="handled", patience=9),
    "dead letters": lambda inbox: dead_letters.newest(inbox.database, DeadLetterFilter(), limit=100),
    "orphans": lambda inbox: dead_letters.newest(inbox.database, DeadLetterFilter(orphaned=True), limit=100),
    "quarantine": lambda inbox: quarantine.newest(inbox.database, limit=100),
}
BOUNDED = re.compile(r"webhook_(quarantine|audit|workers|schema_version)")
"""Tables that are small, or read by their keys from the newest on."""


def minutes(count: int) -> list[datetime]:
    return [NOW - timedelta(minutes=back) for back in range(count, 0, -1)]


@pytest.mark.timeout(120)
async def test_no_question_of_the_page_reads_a_whole_table(database: databases.TestDatabase) -> None:
    async with inboxes.opened(database.url) as inbox:
        filling.fill(database, tasks=TASKS)
        read: dict[str, list[str]] = {}
        for name, ask in ASKED.items():
            statements = await asked(inbox, ask)
            plans = [plan for sql, values in statements for plan in await explained(inbox, sql, values)]
            read[name] = [line for line in plans if is_whole(line)]

    assert {name: lines for name, lines in read.items() if lines} == {}


async def asked(inbox: Inbox, ask: Callable[[Inbox], Any]) -> list[tuple[str, Any]]:
    """The statements that a question consists of."""
    statements: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, sql: str, values: Any, *___: Any) -> None:
        if sql.lstrip().startswith(("SELECT", "WITH")):
            statements.append((sql, values))

    engine = inbox.database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        await ask(inbox)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert statements
    return statements


async def explained(inbox: Inbox, sql: str, values: Any) -> list[str]:
    how = "EXPLAIN QUERY PLAN " if inbox.database.is_sqlite else "EXPLAIN "
    rows = await inbox.database.read(lambda connection: list(connection.exec_driver_sql(how + sql, values)))
    return [str(row[-1]) for row in rows]


def is_whole(line: str) -> bool:
    """Whether a line of a plan reads a table from one end to the other."""
    if BOUNDED.search(line):
        return False
    return "Seq Scan on webhook_" in line or re.fullmatch(r"SCAN webhook_\w+( AS \w+)?", line.strip()) is not None


def test_a_plan_that_reads_a_whole_table_would_be_seen() -> None:
    assert is_whole("SCAN webhook_events")
    assert is_whole("  ->  Parallel Seq Scan on webhook_tasks  (cost=0.00..1.00)")
    assert not is_whole("SCAN webhook_events USING INDEX ix_webhook_events_stored")
    assert not is_whole("SEARCH webhook_tasks USING INDEX ix_webhook_tasks_state (state=?)")


async def test_what_came_is_counted_in_the_portion_in_which_it_came(database: databases.TestDatabase) -> None:
    async with inboxes.opened(database.url) as inbox:
        filling.fill(database, tasks=1000)  # one a second, four events each, every 50th failed, every 1,000th open
        now = datetime.now(UTC)
        activity = Activity(inbox.database)
        moments = [now - timedelta(seconds=seconds) for seconds in (5000, 900, 600, 300)]

        first = await activity.between(moments, now=now, patience=9)
        again = await activity.between(moments, now=now, patience=9)

    assert first == again
    assert sum(bucket.received for bucket in first) == 4000
    assert sum(bucket.begun for bucket in first) == 1000
    assert (sum(bucket.failed for bucket in first), sum(bucket.given_up for bucket in first)) == (19, 20)
    for bucket in first[1:3]:
        assert bucket.received == pytest.approx(1200, abs=8)
        assert bucket.begun == pytest.approx(300, abs=2)
        assert bucket.completed + bucket.failed == bucket.begun
    assert first[0].received == 4000 - sum(bucket.received for bucket in first[1:])


async def test_nothing_came_into_an_empty_inbox(inbox: Inbox) -> None:
    (bucket,) = await Activity(inbox.database).between([NOW], now=NOW, patience=9)

    assert (bucket.received, bucket.begun, bucket.given_up) == (0, 0, 0)


async def test_a_task_is_found_by_what_one_knows_of_it(database: databases.TestDatabase) -> None:
    async with inboxes.opened(database.url) as inbox:
        filling.fill(database, tasks=200)

        async def found(text: str) -> list[str]:
            return [
                row.values["task_id"] for row in await task_listing.search(inbox.database, text, limit=5, patience=9)
            ]

        assert await found("task-17") == ["task-179", "task-178", "task-177", "task-176", "task-175"]
        assert await found("document-199") == ["task-199"]
        assert await found('"order":"42"') == ["task-42"]
        assert await found("no such thing") == []
        assert await found("%") == []


async def test_pages_of_tasks_follow_each_other(database: databases.TestDatabase) -> None:
    async with inboxes.opened(database.url) as inbox:
        filling.fill(database, tasks=300)
        first = await task_listing.page(inbox.database, limit=4, states=("failed",), patience=9)
        second = await task_listing.page(
            inbox.database, limit=4, states=("failed",), before=first[-1].number, patience=9
        )

    assert [row.values["task_id"] for row in first + second] == [f"task-{n}" for n in (300, 250, 200, 150, 100, 50)]


async def test_a_name_is_looked_for_in_windows(database: databases.TestDatabase) -> None:
    async with inboxes.opened(database.url) as inbox:
        filling.fill(database, tasks=6000)  # 24,000 events
        database.execute("UPDATE webhook_events SET name = 'task.failed' WHERE id = 5")
        first = await event_listing.page(inbox.database, limit=5, name="task.failed", patience=9)
        second = await event_listing.page(inbox.database, limit=5, name="task.failed", before=first.next, patience=9)

    assert (first.events, first.next) == ([], 4001)
    assert ([one.id for one in second.events], second.next) == ([5], None)
