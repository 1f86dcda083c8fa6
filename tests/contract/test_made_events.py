"""Events that another process made of what MoRAG answered, beside the webhooks of the same: handlers run for one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import deliveries
import inboxes
import pytest
from receiving import send, until

from morag_client import Context, Event, Receiver, Registry, RetryPolicy
from morag_client.inbox.inbox import Inbox
from morag_client.inbox.made_rows import made_row
from morag_client.inbox.queries import Queries, Record
from morag_client.inbox.rows import now
from morag_client.wire.answer import Answered

COMPLETED = Answered("task.completed", "task-1", known=1, progress=100.0)
FAILED = Answered("task.failed", "task-1", known=1, error="MoRAG said so")

Told = list[tuple[str, str]]
"""For which events handlers ran: their names and sources."""


@pytest.fixture
def told() -> Told:
    return []


@contextlib.asynccontextmanager
async def working(database_url: str, told: Told, **settings: Any) -> AsyncIterator[Receiver]:
    registry = Registry()

    @registry.on("*", name="note")
    async def note(event: Event, context: Context) -> None:
        told.append((event.name, event.source))

    receiver = Receiver(
        registry=registry,
        secrets=deliveries.SECRET,
        database_url=database_url,
        retry=RetryPolicy(attempts=1),
        **settings,
    )
    async with receiver.lifespan():
        yield receiver


async def make(inbox: Inbox, answered: Answered) -> int:
    return (await inbox.store(made_row(answered, tenant="", received_at=now()))).record_id


async def through(inbox: Inbox, *record_ids: int) -> list[Record]:
    """The records, once their handlers have run."""
    found: list[Record] = []

    async def are_through() -> bool:
        found[:] = [await Queries(inbox).get(record_id) for record_id in record_ids]
        return all(record.state == "handled" for record in found)

    async with asyncio.timeout(10):
        while not await are_through():
            await asyncio.sleep(0.02)
    return found


def ends(told: Told) -> Told:
    return [one for one in told if one[0] in {"task.completed", "task.failed"}]


async def test_a_webhook_that_still_comes_completes_the_made_record(
    inbox: Inbox, database_url: str, told: Told
) -> None:
    async with working(database_url, told) as receiver:
        await send(receiver, deliveries.task_body("task-1", "started"))
        (made,) = await through(inbox, await make(inbox, COMPLETED))
        body = deliveries.task_body("task-1", "completed", result={"chunks_processed": 15})
        (came,) = await through(inbox, *await send(receiver, body))
        task = await receiver.tasks.get("task-1")

    assert ends(told) == [("task.completed", "reconcile")]
    assert (made.belongs_to, [run.state for run in made.runs]) == (None, ["succeeded"])
    assert (came.belongs_to, came.runs, came.body, came.sequence) == (made.id, (), body, 3)
    assert (task.state, task.sequence) == ("completed", 3)


async def test_a_made_event_after_the_webhook_is_for_nobody(inbox: Inbox, database_url: str, told: Told) -> None:
    async with working(database_url, told) as receiver:
        _, ended = await send(
            receiver, deliveries.task_body("task-1", "started"), deliveries.task_body("task-1", "completed")
        )
        (made,) = await through(inbox, await make(inbox, COMPLETED))

    assert ends(told) == [("task.completed", "webhook")]
    assert (made.belongs_to, made.runs) == (ended, ())


async def test_both_that_wait_for_a_worker_run_handlers_once(inbox: Inbox, database_url: str, told: Told) -> None:
    for number, first in enumerate(["made", "webhook"]):
        task = f"task-{number}"
        steps = [make(inbox, COMPLETED._replace(task_id=task)), _webhook(inbox, task)]
        for step in steps if first == "made" else reversed(steps):
            await step

    async with working(database_url, told):
        records = await through(inbox, 1, 2, 3, 4)

    assert ends(told) == [("task.completed", "reconcile"), ("task.completed", "webhook")]
    assert [record.belongs_to for record in records] == [None, 1, None, 3]


async def _webhook(inbox: Inbox, task: str) -> int:
    return (await inboxes.record(inbox, deliveries.task_body(task, "completed"))).record_id


async def test_a_failure_that_was_made_and_a_completion_that_came_are_two(
    inbox: Inbox, database_url: str, told: Told
) -> None:
    async with working(database_url, told) as receiver:
        await through(inbox, await make(inbox, FAILED))
        await send(receiver, deliveries.task_body("task-1", "completed"))
        await receiver.idle()
        task = await receiver.tasks.get("task-1")

    assert ends(told) == [("task.failed", "reconcile"), ("task.completed", "webhook")]
    assert (task.state, task.error) == ("completed", None)


async def test_what_two_processes_make_of_one_answer_is_one_record(inbox: Inbox, database_url: str, told: Told) -> None:
    async with inboxes.opened(database_url) as other:
        ids = await asyncio.gather(*(make(one, COMPLETED) for one in (inbox, other) * 5))

    assert len(set(ids)) == 1


async def test_a_made_event_is_read_back_with_what_was_known(inbox: Inbox, database_url: str) -> None:
    seen: list[Event] = []
    registry = Registry()
    registry.on("task.completed", name="note")(seen.append)
    answered = COMPLETED._replace(
        document_id="doc-1", correlation={"order": "42"}, result={"chunks_processed": 15}, message="done"
    )
    made = await make(inbox, answered)

    receiver = Receiver(registry=registry, secrets=deliveries.SECRET, database_url=database_url)
    async with receiver.lifespan():
        await through(inbox, made)

    event = seen[0]
    assert (event.source, event.task_id, event.document_id, event.message) == ("reconcile", "task-1", "doc-1", "done")
    assert (dict(event.correlation), event.result.chunks_processed) == ({"order": "42"}, 15)


async def test_nobody_on_the_wire_can_pass_for_an_answer(inbox: Inbox, database_url: str, told: Told) -> None:
    body = made_row(COMPLETED, tenant="", received_at=now()).body
    before = (await inboxes.record(inbox, body)).record_id

    async with working(database_url, told) as receiver:
        await through(inbox, before, *await send(receiver, body + b" "))

    assert told == [("unknown", "webhook")] * 2


async def test_at_the_same_moment_and_by_two_processes_each_end_is_told_once(
    inbox: Inbox, database_url: str, told: Told
) -> None:
    """Whatever came first: thirty tasks, each with a webhook and what two processes made of the same answer."""
    tasks = [f"task-{number}" for number in range(30)]

    async with (
        working(database_url, told) as one,
        working(database_url, told) as two,
        inboxes.opened(database_url) as b,
    ):
        for place, task in enumerate(tasks):
            receiver = (one, two)[place % 2]
            answered = COMPLETED._replace(task_id=task)
            both = [make(inbox, answered), make(b, answered)]
            webhook = send(receiver, deliveries.task_body(task, "completed"))
            await asyncio.gather(*([webhook, *both] if place % 3 else [*both, webhook]))
        await until(lambda: len(ends(told)) >= len(tasks))
        ids = [row[0] for row in await inboxes.rows_of(inbox, "events", "id")]
        records = await through(inbox, *ids)

    assert len(ends(told)) == len(tasks)
    by_task = {task: [record for record in records if record.task_id == task] for task in tasks}
    for of_task in by_task.values():
        first = [record for record in of_task if record.belongs_to is None]
        assert len(of_task) == 2
        assert [len(record.runs) for record in first] == [1]
        assert [record.belongs_to for record in of_task if record.belongs_to is not None] == [first[0].id]


async def test_a_worker_that_is_cut_off_in_between_leaves_one_to_be_told(
    inbox: Inbox, database_url: str, told: Told
) -> None:
    made = await make(inbox, COMPLETED)
    began, goes_on = asyncio.Event(), asyncio.Event()
    registry = Registry()

    @registry.on("*", name="note")
    async def note(event: Event) -> None:
        began.set()
        await goes_on.wait()

    slow = Receiver(registry=registry, secrets=deliveries.SECRET, database_url=database_url, grace=0.0)
    async with slow.lifespan():
        await began.wait()
        came = (await send(slow, deliveries.task_body("task-1", "completed")))[0]

    async with working(database_url, told):
        records = await through(inbox, made, came)

    assert ends(told) == [("task.completed", "reconcile")]
    assert [record.belongs_to for record in records] == [None, made]


async def test_a_replay_leaves_out_what_belongs_to_another_record_unless_its_id_is_given(
    inbox: Inbox, database_url: str, told: Told
) -> None:
    async with working(database_url, told) as receiver:
        made = await make(inbox, COMPLETED)
        await through(inbox, made)
        came = (await send(receiver, deliveries.task_body("task-1", "completed")))[0]
        await through(inbox, came)
        told.clear()

        of_task = await receiver.replay(task_id="task-1")
        await through(inbox, made, came)
        again = ends(told)
        by_id = await receiver.replay(came)
        await through(inbox, made, came)

    assert (of_task.replayed, again) == (1, [("task.completed", "reconcile")])
    assert (by_id.replayed, ends(told)) == (1, [("task.completed", "reconcile"), ("task.completed", "webhook")])
