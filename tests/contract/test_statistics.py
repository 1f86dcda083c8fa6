"""What is counted: records, runs, tasks, and how long steps take."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import deliveries
import inboxes
import pytest
from receiving import send
from workers import run, settled, stored

from morag_client import Receiver, Registry, RetryPolicy
from morag_client.inbox.inbox import Inbox
from morag_client.inbox.lanes import RunRow
from morag_client.inbox.statistics import LastError, Statistics, statistics_of

MORNING = datetime(2026, 1, 1, 6, tzinfo=UTC)


async def counted(inbox: Inbox) -> Statistics:
    return await statistics_of(inbox.database, patience=5.0)


def failing(handler: str, *, hour: int, state: str = "failed", delay: float | None = None) -> RunRow:
    ended = MORNING + timedelta(hours=hour)
    return RunRow(handler, state, 1, f"ValueError: hour {hour}", None, ended, ended, delay)


async def test_an_empty_inbox_has_no_rates(inbox: Inbox) -> None:
    empty = await counted(inbox)

    assert empty == Statistics(0, 0, 0, 0, 0, 0, 0, 0, None, {}, {})
    assert (empty.success_rate, empty.task_success_rate) == (None, None)


async def test_each_record_is_counted_once_by_what_became_of_it(inbox: Inbox) -> None:
    body = deliveries.unknown_body()
    for _ in range(3):
        await inboxes.record(inbox, body)
    one, two, three, four = await stored(inbox, *"abcd")
    await settled(inbox, one, "handled", run("index"))
    await settled(inbox, two, "failed", run("index"), failing("bill", hour=1), failing("mail", hour=2))
    await settled(inbox, three, "as_runs", failing("index", hour=1, state="retrying", delay=60.0))
    await settled(inbox, four, "handled")
    for _ in range(2):
        await inboxes.quarantine(inbox, b"{", "no JSON")

    stats = await counted(inbox)

    assert (stats.total_received, stats.successful, stats.failed) == (5, 2, 1)
    assert (stats.waiting, stats.retrying, stats.dead_letters, stats.quarantined) == (1, 1, 2, 1)
    assert stats.success_rate == pytest.approx(2 / 3)


async def test_the_last_error_is_the_one_that_ended_last(inbox: Inbox) -> None:
    first, second, third = await stored(inbox, *"abc")
    await settled(inbox, second, "failed", failing("bill", hour=3))
    await settled(inbox, third, "failed", failing("bill", hour=1), run("index"))

    assert (await counted(inbox)).last_error == LastError(
        "ValueError: hour 3", "bill", second, MORNING + timedelta(hours=3)
    )

    await settled(inbox, first, "as_runs", failing("index", hour=4, state="retrying", delay=5.0))

    assert (await counted(inbox)).last_error == LastError(
        "ValueError: hour 4", "index", first, MORNING + timedelta(hours=4)
    )


@pytest.fixture
async def receiver(database_url: str) -> AsyncIterator[Receiver]:
    registry = Registry()
    registry.on("*", name="index")(lambda event: None)
    receiver = Receiver(
        registry=registry, secrets=deliveries.SECRET, database_url=database_url, retry=RetryPolicy(attempts=1)
    )
    async with receiver.lifespan():
        yield receiver


async def take(receiver: Receiver, task_id: str, seconds: float, *, step: str = "chunking", **more: Any) -> None:
    """A step of a task that takes so long."""
    for status, later in (("started", 0.0), (more.get("status", "completed"), seconds)):
        time = (MORNING + timedelta(seconds=later)).isoformat()
        await send(receiver, deliveries.step_body(task_id, step, status, timestamp=time))


async def test_steps_take_what_so_many_of_them_do_not_exceed(receiver: Receiver) -> None:
    for number in range(20):
        await take(receiver, f"task-{number}", float(20 - number))
    await take(receiver, "task-0", 0.25, step="ingestion")
    await take(receiver, "task-1", 99.0, step="ingestion", status="failed")
    await take(receiver, "task-2", -5.0, step="ingestion")
    await send(receiver, deliveries.step_body("task-3", "ingestion", "started"))
    await receiver.idle()

    steps = (await receiver.stats()).steps

    assert list(steps) == ["chunking", "ingestion"]
    chunking, ingestion = steps["chunking"], steps["ingestion"]
    assert (chunking.count, chunking.p50, chunking.p90, chunking.p99) == (20, 10.0, 18.0, 20.0)
    assert (ingestion.count, ingestion.p50, ingestion.p99) == (1, 0.25, 0.25)


async def test_tasks_succeed_that_complete(receiver: Receiver) -> None:
    for task_id, status in (
        ("a", "completed"),
        ("b", "completed"),
        ("c", "failed"),
        ("d", "failed"),
        ("e", "started"),
    ):
        await send(receiver, deliveries.task_body(task_id, status))
    await receiver.idle()

    stats = await receiver.stats()

    assert stats.tasks == {"completed": 2, "failed": 2, "running": 1}
    assert stats.task_success_rate == 0.5
    assert stats.successful == 5
