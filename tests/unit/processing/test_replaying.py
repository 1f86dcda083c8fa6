"""Handling again what was handled, what failed, and what nobody asked for at the time."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from pathlib import Path

import deliveries
import pytest
import receiving

from morag_client import ConfigurationError, Context, Event, RecordNotFound, Registry, Replay, Retried


@pytest.fixture
def registry() -> Registry:
    return Registry()


class Fickle:
    """A handler that fails so many times, then succeeds; it knows at which attempt."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.attempts: list[int] = []

    def __call__(self, event: Event, context: Context) -> None:
        self.attempts.append(context.attempt)
        if len(self.attempts) <= self.failures:
            raise ValueError(f"failure {len(self.attempts)}")


async def test_replay_runs_what_failed_and_nothing_else(tmp_path: Path, registry: Registry) -> None:
    fickle, steady = Fickle(2), Fickle(0)
    registry.on("*", name="fickle")(fickle)
    registry.on("*", name="steady")(steady)

    async with receiving.working(tmp_path, registry) as receiver:
        [record_id] = await receiving.send(receiver, deliveries.task_body())
        await receiver.idle()
        for state in ("failed", "handled"):
            assert (await receiver.replay(record_id)).handlers == ("fickle",)
            await receiver.idle()
            assert (await receiver.events.get(record_id)).state == state
        runs = {run.handler: (run.state, run.attempts) for run in (await receiver.events.get(record_id)).runs}

    assert fickle.attempts == [1, 1, 1]  # a replay gives all attempts again
    assert steady.attempts == [1]
    assert runs == {"fickle": ("succeeded", 1), "steady": ("succeeded", 1)}


async def test_replay_of_what_succeeded_runs_everything_again(tmp_path: Path, registry: Registry) -> None:
    steady = Fickle(0)
    registry.on("*", name="steady")(steady)

    async with receiving.working(tmp_path, registry) as receiver:
        [record_id] = await receiving.send(receiver, deliveries.task_body())
        await receiver.idle()

        assert (await receiver.replay(record_id)).handlers == ("steady",)
        await receiver.idle()

    assert len(steady.attempts) == 2


async def test_a_replay_is_picked_up_whenever_it_comes(tmp_path: Path, registry: Registry) -> None:
    steady = Fickle(0)
    registry.on("*", name="steady")(steady)

    async with receiving.working(tmp_path, registry) as receiver:
        [record_id] = await receiving.send(receiver, deliveries.task_body())
        await receiver.idle()
        began = time.monotonic()
        for _ in range(40):
            async with asyncio.TaskGroup() as group:
                group.create_task(receiving.send(receiver, *(deliveries.task_body("x") for _ in range(3))))
                await receiver.replay(record_id)
                await receiver.idle()
                assert (await receiver.events.get(record_id)).state == "handled"
        await receiver.idle()

    assert time.monotonic() - began < 15  # not one poll after the other
    assert len(steady.attempts) == 1 + 40 + 120


async def test_a_handler_that_is_replayed_for_everything_gets_only_what_it_asks_for(
    tmp_path: Path, registry: Registry
) -> None:
    started, odd = Fickle(0), Fickle(0)
    async with receiving.working(tmp_path, registry) as receiver:
        ids = await receiving.send(receiver, *(deliveries.task_body(task, kind) for task, kind in BACKLOG))
    registry.on("*", name="before")(lambda event: None)
    async with receiving.working(tmp_path, registry) as receiver:
        await receiver.idle()
    registry.on("task.started", name="started")(started)
    registry.on("*", name="odd", where=lambda event: event.task_id == "b")(odd)

    async with receiving.working(tmp_path, registry) as receiver:
        for handler in ("started", "odd"):
            assert (await receiver.replay(name="*", handler=handler)).replayed == 3
            await receiver.idle()
        records = [await receiver.events.get(record_id) for record_id in ids]

    assert (started.attempts, odd.attempts) == ([1, 1], [1])
    assert [record.state for record in records] == ["handled"] * 3
    runs = [{run.handler: (run.state, run.error) for run in record.runs} for record in records]
    assert [run["started"][0] for run in runs] == ["succeeded", "succeeded", "discarded"]
    assert [run["odd"][0] for run in runs] == ["discarded", "succeeded", "discarded"]
    assert runs[2]["started"][1] == "it does not ask for task.completed"
    assert runs[0]["odd"][1] == "its condition (where=) does not want this event"


BACKLOG = (("a", "started"), ("b", "started"), ("c", "completed"))


async def test_a_condition_is_asked_again_when_its_handler_is(tmp_path: Path, registry: Registry) -> None:
    calm, answers = Fickle(0), iter([ValueError("not yet"), False])

    def condition(event: Event) -> bool:
        answer = next(answers)
        if isinstance(answer, ValueError):
            raise answer
        return answer

    registry.on("*", name="calm", where=condition)(calm)
    async with receiving.working(tmp_path, registry) as receiver:
        [record_id] = await receiving.send(receiver, deliveries.task_body())
        await receiver.idle()
        await receiver.replay(record_id)
        await receiver.idle()

        assert await receiving.runs_of(receiver, record_id) == {"calm": "discarded"}
    assert calm.attempts == []


async def test_what_is_to_be_replayed_has_to_be_said_and_to_be_there(tmp_path: Path, registry: Registry) -> None:
    steady = Fickle(0)
    registry.on("*", name="steady")(steady)

    async with receiving.working(tmp_path, registry) as receiver:
        [first, second] = await receiving.send(receiver, deliveries.task_body("a"), deliveries.task_body("b"))
        await receiver.idle()
        with pytest.raises(RecordNotFound, match="no record 98, 99"):
            await receiver.replay(first, 98, 99)
        for given in ({}, {"state": "lost"}, {"name": "*", "handler": "steadi"}, {"since": datetime(2026, 1, 1)}):
            with pytest.raises(ConfigurationError, match=r"say which|state is none|there are: steady|time zone"):
                await receiver.replay(**given)
        await receiver.idle()
        assert len(steady.attempts) == 2
        assert await receiver.replay(first, second, task_id="b", dry_run=True) == Replay(replayed=1)
        assert await receiver.replay(first, second, task_id="b", who="anna", why="fixed") == Replay(replayed=1)
        await receiver.idle()
        [entry] = await receiver.audit.list()

    assert len(steady.attempts) == 3
    assert (entry.action, entry.who, entry.why, entry.affected) == ("replay", "anna", "fixed", 1)
    assert entry.criteria == {"record_ids": [first, second], "task_id": "b"}


async def test_dead_letters_are_retried_or_given_up(tmp_path: Path, registry: Registry) -> None:
    fickle = Fickle(3)
    registry.on("*", name="fickle")(fickle)
    registry.on("*", name="steady")(lambda event: None)

    async with receiving.working(tmp_path, registry) as receiver:
        for task in "abc":
            await receiving.send(receiver, deliveries.task_body(task))
            await receiver.idle()
        letters = await receiver.dead_letters.list()
        assert [(one.handler, one.task_id, one.attempts) for one in letters] == [("fickle", task, 1) for task in "cba"]
        assert [one.task_id for one in await receiver.dead_letters.list(limit=1, handler="fickle", task_id="b")] == [
            "b"
        ]
        letter = letters[-1]
        assert "in __call__" in (await receiver.dead_letters.get(letter.id)).traceback
        for change in (receiver.dead_letters.retry, receiver.dead_letters.discard):
            with pytest.raises(ConfigurationError, match="say which dead letters"):
                await change()
            with pytest.raises(RecordNotFound, match="no dead letter 98, 99"):
                await change(letter.id, 98, 99)

        assert await receiver.dead_letters.retry(letter.id, who="anna", why="fixed") == Retried(retried=1)
        await receiver.idle()
        assert (await receiver.events.get(letter.record_id)).state == "handled"
        assert await receiver.dead_letters.discard(name="*", task_id="b") == 1
        assert [one.task_id for one in await receiver.dead_letters.list()] == ["c"]
        audit = await receiver.audit.list()

    assert len(fickle.attempts) == 4
    assert [(one.action, one.who, one.why) for one in audit] == [
        ("dead-letters discard", "application", None),
        ("dead-letters retry", "anna", "fixed"),
    ]
