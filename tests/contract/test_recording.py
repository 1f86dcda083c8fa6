"""What is recorded is stored exactly once, whoever else records it at the same time."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import deliveries
import inboxes
import pytest

from morag_client.errors import InboxUnavailable
from morag_client.inbox.inbox import Inbox
from morag_client.inbox.queries import Queries
from morag_client.inbox.rows import EventRow
from morag_client.inbox.writer import GroupCommit, Insertion


class CountingInsertion:
    """The database's own insertion, and the sizes of the batches that it stored."""

    def __init__(self, insertion: Insertion) -> None:
        self._insertion = insertion
        self.batches: list[int] = []

    async def insert(self, rows: Sequence[EventRow]) -> list[tuple[int, bool]]:
        stored = await self._insertion.insert(rows)
        self.batches.append(len(rows))
        return stored

    def is_passing(self, error: Exception) -> bool:
        return self._insertion.is_passing(error)

    async def close(self) -> None:
        await self._insertion.close()


@pytest.fixture
def insertion(inbox: Inbox) -> CountingInsertion:
    return CountingInsertion(inbox._insertion())


async def test_a_delivery_becomes_a_record_and_a_retry_a_duplicate(inbox: Inbox) -> None:
    body = deliveries.step_body("task-7", "chunking", "completed")

    first = await inboxes.record(inbox, body)
    again = await inboxes.record(inbox, body)

    assert (first.is_new, again.is_new) == (True, False)
    assert first.record_id == again.record_id
    record = await Queries(inbox).get(first.record_id)
    assert (record.name, record.event_type, record.task_id) == ("chunking.completed", "step_completed", "task-7")
    assert (record.state, record.body, list(record.runs)) == ("stored", body, [])


async def test_the_same_from_many_tasks_is_one_record_and_received_once(inbox: Inbox) -> None:
    bodies = [deliveries.task_body(f"task-{number}") for number in range(10)]

    stored = await asyncio.gather(*(inboxes.record(inbox, body) for body in bodies * 30))

    assert sum(one.is_new for one in stored) == 10
    assert len({one.record_id for one in stored}) == 10
    assert len(await inboxes.rows_of(inbox, "events", "id")) == 10


PROGRAM = """
import asyncio, json, pathlib, sys, time
sys.path.insert(0, sys.argv[1])
import inboxes

async def main(url, bodies):
    async with inboxes.opened(url) as inbox:
        print("ready", flush=True)
        sys.stdin.readline()
        stored = await asyncio.gather(*(inboxes.record(inbox, body.encode()) for body in bodies))
        print(json.dumps([[one.record_id, one.is_new] for one in stored]))

asyncio.run(main(sys.argv[2], json.loads(sys.argv[3])))
"""


def test_the_same_from_two_processes_is_one_record_and_received_once(database_url: str) -> None:
    bodies = [deliveries.task_body(f"task-{number % 40}").decode() for number in range(200)]
    tests = str(Path(inboxes.__file__).parent)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, tests, database_url, json.dumps(bodies)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:  # both begin when both are ready
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [json.loads(process.communicate(timeout=30)[0]) for process in processes]

    assert [process.returncode for process in processes] == [0, 0]
    for body_number in range(200):
        (one, is_new), (other, is_new_there) = answers[0][body_number], answers[1][body_number]
        assert one == other
        assert is_new + is_new_there == 1


async def test_two_tenants_sending_the_same_bytes_are_two_records(inbox: Inbox) -> None:
    body = deliveries.task_body()

    stored = [await inboxes.record(inbox, body, tenant=tenant) for tenant in ("acme", "globex", "acme")]

    assert [one.is_new for one in stored] == [True, True, False]
    assert {record.tenant for record in await Queries(inbox).newest(limit=9)} == {"acme", "globex"}


async def test_deliveries_at_once_share_commits(insertion: CountingInsertion) -> None:
    told: list[tuple[int, Any]] = []
    writer = GroupCommit(insertion, on_stored=lambda *new: told.append(new), timeout=3.0)

    stored = await asyncio.gather(
        *(writer.record(inboxes.row(deliveries.task_body()), number) for number in range(1000))
    )
    await writer.close()

    assert sum(insertion.batches) == 1000
    assert len(insertion.batches) <= 1000 / 100
    assert max(insertion.batches) <= 256
    assert [one.record_id for one in stored] == sorted(one.record_id for one in stored)
    assert told == [(one.record_id, number) for number, one in enumerate(stored)]


async def test_a_batch_is_bounded_in_bytes(insertion: CountingInsertion) -> None:
    writer = GroupCommit(insertion, on_stored=inboxes.nothing, timeout=10.0)
    rows = [inboxes.row(deliveries.task_body(message="x" * 1_000_000)) for _ in range(30)]

    await asyncio.gather(*(writer.record(row) for row in rows))
    await writer.close()

    assert sum(insertion.batches) == 30
    assert max(insertion.batches) <= 8


async def test_a_client_that_hangs_up_cancels_nobodys_commit(database_url: str) -> None:
    told: list[int] = []
    async with inboxes.opened(database_url, on_stored=lambda record_id, _: told.append(record_id)) as inbox:
        tasks = [asyncio.create_task(inboxes.record(inbox, deliveries.task_body(), note=1)) for _ in range(60)]
        for turn in range(3):  # before anything began, in the middle of the first commit, and of the second
            await asyncio.sleep(0)
            for task in tasks[turn * 10 :: 30]:
                task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)

    assert sum(isinstance(result, asyncio.CancelledError) for result in results) == 6
    assert sum(getattr(result, "is_new", False) for result in results) == 54
    async with inboxes.opened(database_url) as inbox:
        # All had reached the inbox: what was given to it is stored, whoever still waits for that.
        assert [row.id for row in await inboxes.rows_of(inbox, "events", "id")] == told
        assert len(told) == 60


async def test_the_first_of_equals_hanging_up_does_not_take_the_others_along(inbox: Inbox) -> None:
    body = deliveries.task_body()
    tasks = [asyncio.create_task(inboxes.record(inbox, body)) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()

    stored = [await task for task in tasks[1:]]

    assert {one.record_id for one in stored} == {1}


async def test_quarantine_keeps_one_of_equals_and_counts_the_others(inbox: Inbox) -> None:
    for _ in range(3):
        await inboxes.quarantine(inbox, b'{"status": 3}', "status is no text", "task_id is missing")
    await inboxes.quarantine(inbox, b'{"status": 3}', "x", tenant="acme")

    rows = await inboxes.rows_of(inbox, "quarantine", "id, status, code, problems, repeats, body, tenant")
    assert [tuple(row)[1:] for row in rows] == [
        (400, "rejected", '["status is no text", "task_id is missing"]', 2, b'{"status": 3}', ""),
        (400, "rejected", '["x"]', 0, b'{"status": 3}', "acme"),
    ]


async def test_a_closed_inbox_says_so(database_url: str) -> None:
    async with inboxes.opened(database_url) as inbox:
        writer = inbox._writer
    with pytest.raises(InboxUnavailable, match="not open"):
        await inboxes.record(inbox, deliveries.task_body())
    with pytest.raises(InboxUnavailable, match="closed"):
        await writer.record(inboxes.row(deliveries.task_body()))


async def test_closing_stores_what_still_waits(database_url: str) -> None:
    async with inboxes.opened(database_url) as inbox:
        waiting = [asyncio.create_task(inboxes.record(inbox, deliveries.task_body())) for _ in range(300)]
        await asyncio.sleep(0)

    assert all(stored.is_new for stored in await asyncio.gather(*waiting))
