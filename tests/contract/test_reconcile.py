"""What MoRAG says against what arrived, on every database: one record of each thing, handlers for one of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import databases
import deliveries
import pytest
from asking import DONE, FAILED, RUNNING, Answers
from receiving import send, until

from morag_client import Event, Receiver, Registry, RetryPolicy
from morag_client.errors import InboxUnavailable, Unreachable


class Desk:
    """A receiver with a MoRAG to ask, and what its handlers got."""

    def __init__(self, receiver: Receiver, answers: Answers, got: list[Event]) -> None:
        self.receiver, self.answers, self.got = receiver, answers, got

    @property
    def names(self) -> list[str]:
        return [event.name for event in self.got if event.name.startswith("task.")]

    async def reconcile(self, **options: Any) -> Any:
        report = await self.receiver.reconcile(**options)
        await self.receiver.idle()
        return report

    async def arrives(self, *bodies: bytes) -> list[int]:
        ids = await send(self.receiver, *bodies)
        await self.receiver.idle()
        return ids

    async def records(self) -> list[Any]:
        return sorted(await self.receiver.events.list(limit=100), key=lambda record: record.id)


@contextlib.asynccontextmanager
async def desk(database: databases.TestDatabase, **statuses: Any) -> AsyncIterator[Desk]:
    registry, got, answers = Registry(), list[Event](), Answers(**statuses)

    @registry.on("*")
    async def note(event: Event) -> None:
        got.append(event)

    receiver = Receiver(
        registry=registry,
        secrets=deliveries.SECRET,
        database_url=database.url,
        retry=RetryPolicy(attempts=1),
        client=answers,
        reconcile_interval=float("inf"),
    )
    async with receiver.lifespan():
        yield Desk(receiver, answers, got)


async def test_a_silent_task_is_brought_to_where_morag_says_it_is(database: databases.TestDatabase) -> None:
    async with desk(database, a=DONE, b=FAILED, c={"status": "revoked"}, d=RUNNING) as at:
        await at.arrives(*(deliveries.task_body(task) for task in "abcd"))
        report = await at.reconcile()
        states = {task.task_id: task.state for task in await at.receiver.tasks.list()}
    assert states == {"a": "completed", "b": "failed", "c": "cancelled", "d": "running"}
    assert report.made == {"task.completed": 1, "task.failed": 1, "task.cancelled": 1, "task.progress": 1}
    made = {event.name: event for event in at.got if event.source == "reconcile"}
    assert made["task.completed"].result.chunks_created == 3
    assert made["task.failed"].error == "no text in it"
    assert made["task.progress"].progress == 50


async def test_a_second_run_makes_nothing_more(database: databases.TestDatabase) -> None:
    async with desk(database, a=DONE, b=FAILED, c=RUNNING) as at:
        await at.arrives(*(deliveries.task_body(task) for task in "abc"))
        await at.reconcile()
        before = await at.records()
        assert not (await at.reconcile()).made
        assert len(await at.records()) == len(before)
    assert "a" not in at.answers.asked[3:]


async def test_a_webhook_that_still_comes_completes_the_made_record(database: databases.TestDatabase) -> None:
    body = deliveries.task_body("a", "completed", result={"chunks_created": 5}, message="by webhook")
    async with desk(database, a=DONE) as at:
        await at.arrives(deliveries.task_body("a"))
        await at.reconcile()
        [late] = await at.arrives(body)
        record = await at.receiver.events.get(late)
        made = next(one for one in await at.records() if one.source == "reconcile")
        task = await at.receiver.tasks.get("a")
    assert at.names == ["task.started", "task.completed"]
    assert at.got[-1].source == "reconcile"
    assert (record.state, record.belongs_to, record.body, record.runs) == ("handled", made.id, body, ())
    assert (task.state, task.message) == ("completed", "by webhook")


async def test_what_a_webhook_told_is_never_superseded(database: databases.TestDatabase) -> None:
    """The webhook comes while MoRAG is being asked: what was decided before it is overtaken."""
    async with desk(database, a=DONE) as at:
        await at.arrives(deliveries.task_body("a"))
        real = deliveries.task_body("a", "completed", result={"chunks_created": 5})
        at.answers.before = lambda: at.arrives(real)
        await at.reconcile()
        records = await at.records()
    assert at.names == ["task.started", "task.completed"]
    assert at.got[-1].source == "webhook"
    made = records[-1]
    assert (made.source, made.state, made.belongs_to, made.runs) == ("reconcile", "handled", records[-2].id, ())


async def test_a_failed_task_that_was_tried_again_completes(database: databases.TestDatabase) -> None:
    async with desk(database, a=FAILED) as at:
        await at.arrives(deliveries.task_body("a"))
        await at.reconcile()
        await at.arrives(deliveries.task_body("a", "completed"))
        task = await at.receiver.tasks.get("a")
    assert at.names == ["task.started", "task.failed", "task.completed"]
    assert task.state == "completed"


async def test_a_task_that_failed_by_webhook_is_still_asked_about_for_a_day(database: databases.TestDatabase) -> None:
    async with desk(database, a=DONE, b=FAILED) as at:
        await at.arrives(deliveries.task_body("a", "failed"), deliveries.task_body("b", "failed"))
        report = await at.reconcile()
    assert report.made == {"task.completed": 1}
    assert at.names == ["task.failed", "task.failed", "task.completed"]


async def test_a_failed_step_processing_gets_its_task_failed(database: databases.TestDatabase) -> None:
    """r2 tells of a failure by a step of this name; its ingest sender, who tells of the task, tries only once."""
    async with desk(database, a=FAILED) as at:
        await at.arrives(deliveries.step_body("a", "processing", "failed"))
        await at.reconcile()
        await at.arrives(deliveries.task_body("a", "failed"))
    assert at.names == ["task.failed"]


async def test_made_and_webhook_at_the_same_moment_on_two_processes(database: databases.TestDatabase) -> None:
    for number in range(12):
        async with desk(database) as one, desk(database) as other:
            tasks = [f"{number}-{place}" for place in range(6)]
            one.answers.statuses = other.answers.statuses = dict.fromkeys(tasks, DONE)
            await one.arrives(*(deliveries.task_body(task) for task in tasks))
            bodies = [deliveries.task_body(task, "completed") for task in tasks]
            await asyncio.gather(one.receiver.reconcile(), send(other.receiver, *bodies))
            await until(lambda one=one, other=other: len(completed(one, other)) >= 6)  # some by the other's sweep
            await asyncio.gather(one.receiver.idle(), other.receiver.idle())
            assert sorted(completed(one, other)) == tasks


def completed(*desks: Desk) -> list[str | None]:
    """The tasks of whose completion handlers were told."""
    return [event.task_id for desk in desks for event in desk.got if event.name == "task.completed"]


async def test_two_processes_make_one_record(database: databases.TestDatabase) -> None:
    async with desk(database, a=DONE) as one, desk(database, a=DONE) as other:
        await one.arrives(deliveries.task_body("a"))
        reports = await asyncio.gather(one.receiver.reconcile(), other.receiver.reconcile())
        await asyncio.gather(one.receiver.idle(), other.receiver.idle())
        assert sum(report.made.total() for report in reports) == 1
        assert len(await one.records()) == 2


async def test_a_task_is_lost_after_a_week_and_any_webhook_opens_it_again(database: databases.TestDatabase) -> None:
    async with desk(database) as at:
        await at.arrives(deliveries.task_body("a"))
        assert not (await at.reconcile()).made
    database.execute("UPDATE webhook_tasks SET updated_at = '2001-01-01 00:00:00'")
    async with desk(database) as at:
        assert (await at.reconcile()).made == {"task.lost": 1}
        assert (await at.receiver.tasks.get("a")).state == "lost"
        assert not (await at.reconcile()).made
        await at.arrives(deliveries.step_body("a"))
        assert (await at.receiver.tasks.get("a")).state == "running"
        await at.arrives(deliveries.task_body("a", "completed"))
    assert at.names == ["task.lost", "task.completed"]


async def test_a_lost_task_of_which_something_comes_meanwhile_is_not_lost(database: databases.TestDatabase) -> None:
    async with desk(database) as at:
        await at.arrives(deliveries.task_body("a"))
    database.execute("UPDATE webhook_tasks SET updated_at = '2001-01-01 00:00:00'")
    async with desk(database) as at:
        at.answers.before = lambda: at.arrives(deliveries.step_body("a"))
        await at.reconcile()
        assert (await at.receiver.tasks.get("a")).state == "running"
    assert at.names == []


async def test_what_morag_lists_becomes_known(database: databases.TestDatabase) -> None:
    async with desk(database, new=DONE, mine=DONE, other=DONE) as at:
        await at.arrives(deliveries.task_body("mine", "completed"))
        at.answers.recent = [{"task_id": task, "status": "success"} for task in ("new", "mine")]
        report = await at.reconcile()
        assert (await at.receiver.tasks.get("new")).state == "completed"
    assert (report.found, report.made) == (1, {"task.completed": 1})
    assert at.answers.asked == ["new"]


async def test_a_dry_run_changes_nothing(database: databases.TestDatabase) -> None:
    async with desk(database, a=DONE) as at:
        await at.arrives(deliveries.task_body("a"))
        report = await at.reconcile(dry_run=True)
        assert report.made == {"task.completed": 1}
        assert len(await at.records()) == 1
        assert not await at.receiver.audit.list()
        await at.reconcile(who="ann", why="outage")
        [entry] = await at.receiver.audit.list()
    assert (entry.action, entry.who, entry.why, entry.affected) == ("reconcile", "ann", "outage", 1)


async def test_where_nobody_numbers_events_it_is_made_all_the_same_and_once(database: databases.TestDatabase) -> None:
    """A receiver without handlers stores; what it holds is silent or not by what is stored."""
    answers = Answers(a=DONE, b=DONE)
    receiver = Receiver(
        registry=Registry(), secrets=deliveries.SECRET, database_url=database.url, client=answers,
        reconcile_interval=float("inf"),
    )  # fmt: skip
    async with receiver.lifespan():
        await send(
            receiver, deliveries.task_body("a"), deliveries.task_body("b"), deliveries.task_body("b", "completed")
        )
        assert (await receiver.reconcile()).made == {"task.completed": 1}
        assert not (await receiver.reconcile()).made
    assert answers.asked == ["a"]
    async with desk(database) as at:
        await at.receiver.idle()
    assert sorted(at.names) == ["task.completed", "task.completed", "task.started", "task.started"]


async def test_an_inbox_that_goes_away_meanwhile_is_said_to_be(database: databases.TestDatabase) -> None:
    async with desk(database, **dict.fromkeys("abcdef", DONE)) as at:
        await at.arrives(*(deliveries.task_body(task) for task in "abcdef"))
        inbox = (await at.receiver._lifecycle.runtime()).inbox
        writer, inbox._writer = inbox._writer, None
        try:
            with pytest.raises(InboxUnavailable):
                await at.receiver.reconcile()
        finally:
            inbox._writer = writer
        assert (await at.reconcile()).made == {"task.completed": 6}


async def test_where_morag_is_away_every_task_is_left_and_it_is_said_once(database: databases.TestDatabase) -> None:
    async with desk(database) as at:
        await at.arrives(*(deliveries.task_body(task) for task in "abcdef"))
        at.answers.trouble = Unreachable("nobody listens")
        report = await at.reconcile()
    assert (report.asked, report.left, len(report.errors), report.is_complete) == (0, 6, 1, False)


async def test_what_morag_forgot_its_history_knows(database: databases.TestDatabase) -> None:
    """Celery lets go of results after a day; the history is kept for a week."""
    async with desk(database, a={"status": "pending"}, b={"status": "unknown"}) as at:
        await at.arrives(*(deliveries.task_body(task) for task in "ab"))
        at.answers.histories = {
            "a": [{"status": "success", "timestamp": "2024-01-01T10:05:00"}, {"status": "progress"}],
            "b": [{"status": "progress", "progress": 0.25}, {"status": "failure"}],
        }
        report = await at.reconcile()
    assert report.made == {"task.completed": 1, "task.progress": 1}
