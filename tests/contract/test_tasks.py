"""What is known of tasks, listed and one by one, with their events."""

from __future__ import annotations

from collections.abc import AsyncIterator

import deliveries
import inboxes
import pytest
from receiving import send
from workers import run, settled, stored

from morag_client import Receiver, RecordNotFound, Registry, RetryPolicy
from morag_client.inbox.inbox import Inbox
from morag_client.progress.tasks import TaskQueries


@pytest.fixture
async def receiver(database_url: str) -> AsyncIterator[Receiver]:
    """One whose handler does nothing, so that events are looked at."""
    registry = Registry()
    registry.on("*", name="index")(lambda event: None)
    receiver = Receiver(
        registry=registry, secrets=deliveries.SECRET, database_url=database_url, retry=RetryPolicy(attempts=1)
    )
    async with receiver.lifespan():
        yield receiver


async def ids(receiver: Receiver, **filters: object) -> list[str | None]:
    return [task.task_id for task in await receiver.tasks.list(**filters)]


async def test_a_task_tells_its_state_and_its_steps(receiver: Receiver) -> None:
    times = {"started": "2024-01-15T10:34:00+00:00", "completed": "2024-01-15T10:34:02.5+00:00"}
    for status, time in times.items():
        await send(receiver, deliveries.step_body("a", "chunking", status, timestamp=time, document_id="doc"))
    await send(receiver, deliveries.task_body("a", "failed", error="no memory"))
    await receiver.idle()

    task = await receiver.tasks.get("a")

    assert (task.task_id, task.document_id, task.state, task.sequence) == ("a", "doc", "failed", 3)
    assert (task.error, task.progress, task.steps["chunking"].seconds) == ("no memory", 50.0, 2.5)
    assert await receiver.tasks.list() == [task]


async def test_the_newest_come_first_by_state_document_and_limit(receiver: Receiver) -> None:
    await send(receiver, *(deliveries.step_body(task, document_id=f"doc-{task}") for task in "abcd"))
    await send(receiver, deliveries.task_body("a", "completed"), deliveries.unknown_body())
    await receiver.idle()

    assert await ids(receiver) == ["d", "c", "b", "a"]
    assert await ids(receiver, limit=2) == ["d", "c"]
    assert await ids(receiver, state="completed") == ["a"]
    assert await ids(receiver, state="running", limit=1) == ["d"]
    assert await ids(receiver, document_id="doc-b") == ["b"]
    assert await ids(receiver, document_id="doc") == []


async def test_events_are_listed_by_state_task_and_name(receiver: Receiver) -> None:
    for task_id in "ab":
        await send(receiver, deliveries.step_body(task_id, status="started"), deliveries.step_body(task_id))
    await receiver.idle()

    async def ids_of(**filters: str) -> list[int]:
        return [record.id for record in await receiver.events.list(**filters)]

    assert await ids_of() == await ids_of(state="handled") == [4, 3, 2, 1]
    assert await ids_of(state="retrying") == []
    assert await ids_of(task_id="a") == [2, 1]
    assert await ids_of(name="chunking.started") == [3, 1]
    assert await ids_of(name="chunking.started", task_id="b") == [3]


async def test_a_lane_of_a_single_record_is_no_task(inbox: Inbox) -> None:
    single, of_task = await stored(inbox, None, "a")
    await inboxes.claim_as(inbox, "ann", single, of_task)

    assert len(await inboxes.rows_of(inbox, "tasks")) == 2
    assert [task.task_id for task in await TaskQueries(inbox).newest(limit=9)] == ["a"]


async def test_tenants_have_tasks_of_their_own(inbox: Inbox) -> None:
    for tenant in ("", "north", "south"):
        record_id = (await inboxes.record(inbox, deliveries.task_body("a"), tenant=tenant)).record_id
        await inboxes.claim_as(inbox, f"worker-{tenant}", record_id)
    tasks = TaskQueries(inbox)

    assert [task.tenant for task in await tasks.newest(limit=9)] == ["south", "north", ""]
    assert [task.tenant for task in await tasks.newest(limit=9, tenant="")] == [""]
    assert (await tasks.get("a", tenant="north")).tenant == "north"
    assert [record.tenant for record in await tasks.events("a", tenant="south", limit=9)] == ["south"]
    with pytest.raises(RecordNotFound, match="no task 'a'"):
        await tasks.get("a", tenant="west")


async def test_events_come_by_number_and_those_without_one_last(inbox: Inbox) -> None:
    first, second, third, _, waiting = await stored(inbox, "a", "a", "a", "b", "a")
    for record_id in (second, third, first):
        await settled(inbox, record_id, "handled", run("index"))
    tasks = TaskQueries(inbox)

    events = await tasks.events("a", limit=9)

    assert [(event.id, event.sequence) for event in events] == [(second, 1), (third, 2), (first, 3), (waiting, None)]
    assert {event.body for event in events} == {None}
    assert [[one.handler for one in event.runs] for event in events] == [["index"]] * 3 + [[]]
    assert [event.id for event in await tasks.events("a", limit=2)] == [second, third]
    assert [event.id for event in await tasks.events("a", limit=3)] == [second, third, first]
    assert await tasks.events("c", limit=9) == []


async def test_a_task_of_an_earlier_release_is_found_by_its_id_only(inbox: Inbox) -> None:
    [record_id] = await stored(inbox, "a")
    await inboxes.claim_as(inbox, "ann", record_id)
    columns = "first_record_id late state name step stage progress message started_at updated_at steps correlation"
    nothing = ", ".join(f"{column} = NULL" for column in columns.split())
    await inboxes.run_sql(inbox, f"UPDATE webhook_tasks SET {nothing}")  # noqa: S608
    tasks = TaskQueries(inbox)

    assert await tasks.newest(limit=9) == []
    task = await tasks.get("a")
    assert (task.state, task.progress, task.steps, task.sequence, task.late) == ("pending", 0.0, {}, 1, 0)
