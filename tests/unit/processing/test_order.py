"""A task's events start in the order of their arrival; tasks run side by side, bounded."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import threading
import time
from collections import defaultdict
from pathlib import Path

import deliveries
import inboxes
import pytest
import receiving

from morag_client import Context, Event, Registry

TASKS = [f"task-{number}" for number in range(12)]


class Journal:
    """What started and ended, of which task, as it happened."""

    def __init__(self) -> None:
        self.started: dict[str, list[int]] = defaultdict(list)
        self.sequences: dict[str, list[int | None]] = defaultdict(list)
        self.running: set[str] = set()
        self.most = 0
        self.overlaps = 0
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        return sum(len(ids) for ids in self.started.values())

    def begin(self, event: Event, context: Context) -> None:
        with self._lock:
            self.overlaps += event.task_id in self.running
            self.running.add(event.task_id)
            self.most = max(self.most, len(self.running))
            self.started[event.task_id].append(context.record_id)
            self.sequences[event.task_id].append(context.sequence)

    def end(self, event: Event) -> None:
        with self._lock:
            self.running.discard(event.task_id)

    def registry(self, *, is_async: bool, slowness: float = 0.0) -> Registry:
        registry = Registry()

        async def later(event: Event, context: Context) -> None:
            self.begin(event, context)
            await asyncio.sleep(random.random() * slowness)  # noqa: S311
            self.end(event)

        def plain(event: Event, context: Context) -> None:
            self.begin(event, context)
            time.sleep(random.random() * slowness)  # noqa: S311
            self.end(event)

        registry.on("*", name="journal")(later if is_async else plain)
        return registry

    def assert_in_order(self, tasks: list[str], *, each: int) -> None:
        assert self.started.keys() == set(tasks)
        assert self.overlaps == 0
        for task in tasks:
            assert len(self.started[task]) == each
            assert self.started[task] == sorted(set(self.started[task]))
            assert self.sequences[task] == list(range(1, each + 1))


def bodies(each: int, tasks: list[str]) -> list[bytes]:
    return [deliveries.step_body(task) for _ in range(each) for task in tasks]


@pytest.mark.parametrize("is_async", [True, False])
async def test_the_events_of_a_task_start_in_order_and_tasks_run_side_by_side(tmp_path: Path, is_async: bool) -> None:
    journal = Journal()

    async with receiving.working(tmp_path, journal.registry(is_async=is_async, slowness=0.01)) as receiver:
        await receiving.send_at_once(receiver, *bodies(15, TASKS))
        await receiver.idle()

    journal.assert_in_order(TASKS, each=15)
    assert journal.most > 3


async def test_a_slow_task_does_not_hold_up_another(tmp_path: Path) -> None:
    registry, let_go, seen = Registry(), asyncio.Event(), []

    @registry.on("*", name="1")
    async def handle(event: Event) -> None:
        if event.task_id == "slow":
            await let_go.wait()
        seen.append(event.task_id)

    async with receiving.working(tmp_path, registry) as receiver:
        await receiving.send(receiver, deliveries.step_body("slow"), deliveries.step_body("quick"))
        await receiving.until(lambda: seen == ["quick"])
        let_go.set()
        await receiver.idle()

    assert seen == ["quick", "slow"]


async def test_no_more_tasks_run_at_once_than_allowed(tmp_path: Path) -> None:
    journal = Journal()

    async with receiving.working(tmp_path, journal.registry(is_async=True, slowness=0.01), concurrency=3) as receiver:
        await receiving.send_at_once(receiver, *bodies(4, TASKS))
        await receiver.idle()

    journal.assert_in_order(TASKS, each=4)
    assert journal.most == 3


async def test_what_an_earlier_process_left_is_handled_in_order_however_much_it_is(tmp_path: Path) -> None:
    journal = Journal()
    async with receiving.working(tmp_path) as receiver:  # without handlers: stored only
        await receiving.send_at_once(receiver, *bodies(100, TASKS))

    async with receiving.working(tmp_path, journal.registry(is_async=True)) as receiver:
        more = asyncio.create_task(receiving.send_at_once(receiver, *bodies(3, TASKS)))
        await more
        await receiver.idle()

        assert await receiver.events.list(state="stored") == []
    journal.assert_in_order(TASKS, each=103)


async def test_two_workers_on_one_database_share_the_work_and_do_none_of_it_twice(tmp_path: Path) -> None:
    journal = Journal()

    async with (
        receiving.working(tmp_path, journal.registry(is_async=True, slowness=0.003)) as one,
        receiving.working(tmp_path, journal.registry(is_async=True, slowness=0.003)) as other,
    ):
        for part in range(8):
            await asyncio.gather(
                receiving.send_at_once(one, *bodies(3, TASKS)), receiving.send_at_once(other, *bodies(2, TASKS))
            )
            # Both look behind their cursors all the time, while the other settles what they have just read.
            for _ in range(5):
                one._lifecycle._runtime.engine.look_again()
                other._lifecycle._runtime.engine.look_again()
                await asyncio.sleep(0.005 * part)
        await receiving.until(lambda: journal.count >= 8 * 5 * len(TASKS))
        await one.idle()
        await other.idle()
        assert await one.events.list(state="stored") == []

    journal.assert_in_order(TASKS, each=8 * 5)


async def abandoned(url: str, record_id: int) -> None:
    """Lets a worker claim a record which is killed at once."""
    async with inboxes.opened(url) as inbox:
        await inboxes.claim_as(inbox, "killed", record_id, lease=1.0)


@pytest.mark.parametrize("is_busy", [True, False])
async def test_what_a_killed_worker_held_is_taken_over_after_the_lease(tmp_path: Path, is_busy: bool) -> None:
    journal, body = Journal(), deliveries.step_body("left")
    async with receiving.working(tmp_path) as receiver:
        [record_id] = await receiving.send(receiver, body)
        await abandoned(receiving.url_of(tmp_path), record_id)

    async with receiving.working(tmp_path, journal.registry(is_async=True), lease=1.0) as receiver:
        began = time.monotonic()
        # A later event of that task must not overtake the one that is held, nor may steady traffic keep us from it.
        await receiving.send(receiver, deliveries.step_body("left"))
        while "left" not in journal.started:
            assert time.monotonic() < began + 5
            if is_busy:
                await receiving.send(receiver, deliveries.step_body("another"))
            await asyncio.sleep(0.02)
        assert time.monotonic() > began + 0.5
        await receiver.idle()

    assert journal.started["left"] == [1, 2]
    assert journal.sequences["left"] == [1, 2]


async def test_an_idle_worker_takes_what_another_process_stored_and_left(tmp_path: Path) -> None:
    journal = Journal()

    async with receiving.working(tmp_path, journal.registry(is_async=True)) as receiver:
        await receiving.send(receiver, deliveries.step_body("own"))
        await receiver.idle()
        async with receiving.working(tmp_path) as other:
            await receiving.send(other, deliveries.step_body("left"))
        await receiving.until(lambda: journal.count == 2, seconds=4)

    assert journal.started == {"own": [1], "left": [2]}


async def test_a_later_event_does_not_overtake_one_that_another_worker_held(tmp_path: Path) -> None:
    journal, body = Journal(), deliveries.step_body("held")
    async with receiving.working(tmp_path) as receiver:
        [record_id] = await receiving.send(receiver, body)

    async with inboxes.opened(receiving.url_of(tmp_path)) as inbox:
        other = await inboxes.claim_as(inbox, "other", record_id)

        async with receiving.working(tmp_path, journal.registry(is_async=True)) as receiver:
            await asyncio.sleep(0.2)  # it has looked, and will again in about a second
            await other.leave()
            await receiving.send(receiver, deliveries.step_body("held"))
            await receiving.until(lambda: journal.count == 2)
            await receiver.idle()

    journal.assert_in_order(["held"], each=2)


async def test_what_waits_and_is_due_as_well_is_handled_once(tmp_path: Path) -> None:
    # given a record of which one handler has failed and another was cut off, by a worker that ended
    async with receiving.working(tmp_path) as receiver:
        [record_id] = await receiving.send(receiver, deliveries.unknown_body())
    async with inboxes.opened(receiving.url_of(tmp_path)) as inbox:
        columns = "record_id, handler, state, attempts, next_attempt_at, scheduled_at"
        row = f"({columns}) VALUES ({record_id}, 'failed', 'retrying', 1, 1, 1)"
        await inboxes.run_sql(inbox, f"INSERT INTO webhook_handler_runs {row}")
    registry, called = Registry(), list[str]()

    @registry.on("*", name="failed")
    async def again(event: Event, context: Context) -> None:
        called.append(f"failed {context.attempt}")
        await asyncio.sleep(0.3)

    @registry.on("*", name="cut off")
    async def at_last(event: Event, context: Context) -> None:
        called.append(f"cut off {context.attempt}")

    async with receiving.working(tmp_path, registry) as receiver:
        await receiver.idle()
        runs = await receiving.runs_of(receiver, record_id)

    assert called == ["failed 2", "cut off 1"]
    assert runs == {"failed": "succeeded", "cut off": "succeeded"}


async def test_a_database_that_is_busy_for_a_while_loses_no_outcome(tmp_path: Path) -> None:
    journal, holds = Journal(), asyncio.Event()
    registry = journal.registry(is_async=True)

    @registry.on("*", name="waits")
    async def wait(event: Event) -> None:
        await holds.wait()

    async with receiving.working(tmp_path, registry) as receiver:
        await receiving.send(receiver, *bodies(1, TASKS))
        await receiving.until(lambda: journal.count == len(TASKS))
        lock = sqlite3.connect(tmp_path / "inbox.db", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        holds.set()
        await asyncio.sleep(2.8)  # longer than anything here waits for a lock
        lock.execute("ROLLBACK")
        lock.close()
        await receiver.idle()

        assert {record.state for record in await receiver.events.list()} == {"handled"}
    journal.assert_in_order(TASKS, each=1)
