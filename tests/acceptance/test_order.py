"""Two processes on one database: the events of a task start in the order of their arrival, and none of them twice."""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from pathlib import Path

import commands
import databases
import deliveries
import pytest
import receiving
from senders import Sender, senders

from morag_client import Event, Registry

MODULE = """
import asyncio
import os
import random
import time
from morag_client import Context, Event, Receiver, RetryPolicy, on

notes = os.open("notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

@on("*", name="notes", retry=RetryPolicy(attempts=9, first=0.5, cap=0.5))
async def note(event: Event, context: Context) -> None:
    number = event.raw["data"]["number"]
    os.write(notes, f"{event.task_id} {number} {context.sequence} {context.attempt} {time.time()}\\n".encode())
    if random.random() < 0.1:
        await asyncio.sleep(random.uniform(0.0, 0.05))
    if context.attempt == 1 and number % 10 == 3:
        raise ValueError("not the first time")

receiver = Receiver()
"""
TASKS = 500
EVENTS = 14
AT_ONCE = 40
"""How many tasks are under way together."""


@pytest.mark.timeout(180)
async def test_the_events_of_a_task_start_in_order_on_two_processes(
    database: databases.TestDatabase, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(MODULE)
    arguments = ("app", "--no-access-log", "--database-url", database.url)
    waiting = [f"task-{number}" for number in range(TASKS)]
    answered: dict[tuple[str, int], float] = {}

    with commands.served(tmp_path, *arguments) as one, commands.served(tmp_path, *arguments) as other:
        async with senders(one.url, other.url, each=AT_ONCE) as everybody:
            pairs = zip(everybody[:AT_ONCE], everybody[AT_ONCE:], strict=True)
            await asyncio.gather(*(send_tasks(waiting, pair, answered) for pair in pairs))
        await asyncio.to_thread(receiving.eventually, lambda: handled(database) == TASKS * EVENTS, seconds=60)
        outputs = [served.output for served in (one, other) if served.stop() == 0]

    first, again = notes_of(tmp_path)
    assert {task: [number for number, _, _ in noted] for task, noted in first.items()} == {
        f"task-{number}": list(range(EVENTS)) for number in range(TASKS)
    }
    assert {tuple(sequence for _, sequence, _ in noted) for noted in first.values()} == {tuple(range(1, EVENTS + 1))}
    assert again == {(task, number): 1 for task in first for number in range(EVENTS) if number % 10 == 3}
    assert len(outputs) == 2
    for output in outputs:
        assert "another worker took over" not in output
        assert "cannot be claimed" not in output
    lags = sorted(noted[2] - answered[task, noted[0]] for task in first for noted in first[task])
    print(
        f"seconds from the answer to the handler: median {lags[len(lags) // 2]:.3f}, p99 {lags[-len(lags) // 100]:.3f}"
    )


async def send_tasks(waiting: list[str], pair: tuple[Sender, Sender], answered: dict[tuple[str, int], float]) -> None:
    """Sends the events of one task after the other, each through another process than the one before."""
    while waiting:
        task, turn = waiting.pop(), random.randrange(2)  # noqa: S311
        for number in range(EVENTS):
            body = deliveries.step_body(task, data={"number": number})
            assert (await pair[(turn + number) % 2].post(body)).word == "received"
            answered[task, number] = time.time()


def notes_of(
    folder: Path,
) -> tuple[dict[str, list[tuple[int, int, float]]], dict[tuple[str, int], int]]:
    """(number, sequence, moment) of each task's first attempts as they started, and how many others each event had."""
    first: dict[str, list[tuple[int, int, float]]] = defaultdict(list)
    again: dict[tuple[str, int], int] = defaultdict(int)
    for line in (folder / "notes").read_text().splitlines():
        task, number, sequence, attempt, moment = line.split()
        if attempt == "1":
            first[task].append((int(number), int(sequence), float(moment)))
        else:
            again[task, int(number)] += 1
    return dict(first), dict(again)


def handled(database: databases.TestDatabase) -> int:
    return database.query("SELECT count(*) FROM webhook_events WHERE state = 'handled'")[0][0]


async def test_a_record_whose_commit_is_late_is_not_overtaken(tmp_path: Path) -> None:
    """PostgreSQL gives out ids before the commit, so that a record can appear behind others that were handled."""
    registry, started = Registry(), list[tuple[str, int]]()

    @registry.on("*", name="notes")
    async def note(event: Event) -> None:
        started.append((event.task_id, event.raw["data"]["number"]))

    def body(task: str, number: int) -> bytes:
        return deliveries.step_body(task, data={"number": number})

    with databases.fresh("postgres", tmp_path) as database:
        url = database.url
        async with (
            receiving.working(tmp_path, registry, database_url=url) as one,
            receiving.working(tmp_path, database_url=url) as other,
        ):
            # given an id that the other process has taken for a delivery which takes its time, and later ones that are
            # handled meanwhile
            await receiving.send(one, body("before", 0))
            [(taken,)] = database.query("SELECT nextval(pg_get_serial_sequence('webhook_events', 'id'))")
            await receiving.send(one, body("meanwhile", 0))
            await receiving.send(one, body("meanwhile", 1))
            await one.idle()

            # when that delivery is stored, and the next one of its task comes to us
            [late] = await receiving.send(other, body("late", 0))
            database.execute(f"UPDATE webhook_events SET id = {taken} WHERE id = {late}")  # noqa: S608
            [(used,)] = database.query(f"SELECT setval(pg_get_serial_sequence('webhook_events', 'id'), {late - 1})")
            await receiving.send(one, body("late", 1), body("late", 2))
            await receiving.until(lambda: len(started) == 6)

    assert used == taken + 2
    assert [number for task, number in started if task == "late"] == [0, 1, 2]
