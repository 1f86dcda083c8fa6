"""What a shutdown finishes, what it cuts off, and that nothing cut off is taken for done."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import deliveries
import inboxes
import pytest
import receiving

from morag_client import Event, Registry
from morag_client.inbox.queries import Record


async def left_behind(folder: Path, record_id: int) -> tuple[Record, list[Any]]:
    """The record and the tasks as the next process finds them."""
    async with receiving.working(folder) as receiver:
        tasks = await inboxes.rows_of(receiver._lifecycle._runtime.inbox, "tasks", "task_id, owner")
        return await receiver.events.get(record_id), [tuple(row) for row in tasks]


@pytest.mark.parametrize("is_async", [True, False])
async def test_what_is_under_way_is_finished_within_the_grace_time(tmp_path: Path, is_async: bool) -> None:
    registry, done = Registry(), []

    async def later(event: Event) -> None:
        await asyncio.sleep(0.05)
        done.append(event.task_id)

    def plain(event: Event) -> None:
        time.sleep(0.05)
        done.append(event.task_id)

    registry.on("*", name="1")(later if is_async else plain)
    async with receiving.working(tmp_path, registry, grace=5) as receiver:
        ids = await receiving.send(receiver, *(deliveries.step_body("a") for _ in range(5)))
        await receiving.until(lambda: done)

    assert len(done) == 5
    record, tasks = await left_behind(tmp_path, ids[-1])
    assert record.state == "handled"
    assert tasks == [("a", None)]


async def test_an_async_handler_that_is_cut_off_is_not_done(tmp_path: Path) -> None:
    registry, seen = Registry(), []

    @registry.on("*", name="slow")
    async def slow(event: Event) -> None:
        seen.append("began")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async with receiving.working(tmp_path, registry, grace=0.1) as receiver:
        ids = await receiving.send(receiver, deliveries.step_body("a"), deliveries.step_body("a"))
        await receiving.until(lambda: seen)
        began = time.monotonic()

    assert time.monotonic() - began < 2
    assert seen == ["began", "cancelled"]
    for record_id in ids:
        record, tasks = await left_behind(tmp_path, record_id)
        assert (record.state, list(record.runs)) == ("stored", [])
        assert tasks == [("a", None)]


async def test_a_handler_that_succeeded_beside_one_that_is_cut_off_does_not_run_again(tmp_path: Path) -> None:
    registry, seen, is_slow = Registry(), [], True

    @registry.on("*", name="quick")
    def quick(event: Event) -> None:
        seen.append("quick")

    @registry.on("*", name="slow")
    async def slow(event: Event) -> None:
        await asyncio.sleep(60 if is_slow else 0)
        seen.append("slow")

    async with receiving.working(tmp_path, registry, grace=0) as receiver:
        [record_id] = await receiving.send(receiver, deliveries.step_body("a"))
        await receiving.until(lambda: seen)
        await asyncio.sleep(0.05)
    record, _ = await left_behind(tmp_path, record_id)
    assert (record.state, [run.handler for run in record.runs]) == ("stored", ["quick"])

    is_slow = False
    async with receiving.working(tmp_path, registry) as receiver:
        await receiver.idle()
        assert (await receiver.events.get(record_id)).state == "handled"
    assert seen == ["quick", "slow"]


async def test_a_plain_handler_that_ends_just_after_the_grace_time_is_done(tmp_path: Path) -> None:
    registry, begun = Registry(), threading.Event()

    @registry.on("*", name="1")
    def handle(event: Event) -> None:
        begun.set()
        time.sleep(0.3)

    async with receiving.working(tmp_path, registry, grace=0.1) as receiver:
        ids = await receiving.send(receiver, deliveries.step_body("a"), deliveries.step_body("a"))
        await receiving.until(begun.is_set)

    assert [(await left_behind(tmp_path, record_id))[0].state for record_id in ids] == ["handled", "stored"]


async def test_a_plain_handler_that_hangs_keeps_its_task_until_the_lease_ends(tmp_path: Path) -> None:
    registry, begun, let_go, runs = Registry(), threading.Event(), threading.Event(), []

    @registry.on("*", name="hangs")
    def hang(event: Event) -> None:
        runs.append(event.task_id)
        if event.task_id == "hanging":
            begun.set()
            let_go.wait()

    @registry.on("*", name="quick")
    async def quick(event: Event) -> None:
        pass

    async with receiving.working(tmp_path, registry, grace=0, lease=2.0) as receiver:
        [record_id, _] = await receiving.send(receiver, deliveries.step_body("hanging"), deliveries.step_body("other"))
        await receiving.until(lambda: begun.is_set() and "other" in runs)
        began = time.monotonic()
    assert time.monotonic() - began < 2.5
    record, tasks = await left_behind(tmp_path, record_id)
    assert (record.state, [run.handler for run in record.runs]) == ("stored", ["quick"])
    assert [owner is None for _, owner in tasks] == [False, True]

    # It still runs in its thread: it must not run a second time beside itself.
    async with receiving.working(tmp_path, registry, lease=2.0) as receiver:
        await asyncio.sleep(0.3)
        assert runs.count("hanging") == 1
        let_go.set()
        await receiving.until(lambda: runs.count("hanging") == 2)
        await receiver.idle()
        assert await receiving.runs_of(receiver, record_id) == {"hangs": "succeeded", "quick": "succeeded"}


async def test_starting_and_stopping_again_and_again(tmp_path: Path) -> None:
    registry, seen = Registry(), []
    registry.on("*", name="1")(lambda event: seen.append(event.task_id))
    receiver = receiving.receiver_of(tmp_path, registry)

    for number in range(4):
        async with receiver.lifespan():
            await receiving.send(receiver, deliveries.step_body(f"task-{number}"))
            await receiver.idle()

    assert seen == [f"task-{number}" for number in range(4)]
