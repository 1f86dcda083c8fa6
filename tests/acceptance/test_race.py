"""The same deliveries at once, on two processes: one record each, one of the answers `received`, no deadlock."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import commands
import databases
import deliveries
import pytest
import receiving
from senders import Answer, Sender, request_of, senders

MODULE = """
import os
from morag_client import Event, Receiver, on

notes = os.open("notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

@on("*", name="notes")
async def note(event: Event) -> None:
    os.write(notes, f"{event.task_id}\\n".encode())

receiver = Receiver()
"""
KEYS = 2000
AT_ONCE = 20
"""How many keys are under way together, so that batches of both processes share several of them."""
CONNECTIONS = 16
"""To each of the two processes: 32 in all."""


@pytest.fixture
def processes(database: databases.TestDatabase, tmp_path: Path) -> Iterator[list[commands.Served]]:
    (tmp_path / "app.py").write_text(MODULE)
    arguments = ("app", "--no-access-log", "--database-url", database.url)
    with commands.served(tmp_path, *arguments) as one, commands.served(tmp_path, *arguments) as other:
        yield [one, other]


@pytest.mark.timeout(180)
async def test_the_same_delivery_from_everywhere_at_once_is_one_record(
    database: databases.TestDatabase, processes: list[commands.Served], tmp_path: Path
) -> None:
    tasks = [f"task-{number}" for number in range(KEYS)]
    before = deadlocks(database)

    async with senders(*(served.url for served in processes), each=CONNECTIONS) as everybody:
        answers = [
            words
            for first in range(0, KEYS, AT_ONCE)
            for words in await sent_by_all(everybody, tasks[first : first + AT_ONCE])
        ]
    receiving.eventually(lambda: handled(database) == KEYS, seconds=30)
    outputs = [served.output for served in processes if served.stop() == 0]

    each = Counter({"received": 1, "duplicate": 2 * CONNECTIONS - 1})
    assert [words for words in answers if words != each] == []
    assert len(answers) == KEYS
    found = database.query("SELECT task_id FROM webhook_events")
    assert sorted(task for (task,) in found) == sorted(tasks)
    assert sorted((tmp_path / "notes").read_text().split()) == sorted(tasks)
    assert deadlocks(database) == before
    assert len(outputs) == 2
    for output in outputs:
        assert re.findall(r".*(?:WARNING|ERROR|Traceback|deadlock|locked).*", output) == []


async def sent_by_all(everybody: list[Sender], tasks: list[str]) -> list[Counter[str]]:
    """What each of these was answered with, sent on every connection, on each in another order."""
    requests = [request_of(deliveries.task_body(task)) for task in tasks]
    words = [Counter[str]() for _ in tasks]

    async def send(sender: Sender) -> None:
        for place in random.sample(range(len(tasks)), len(tasks)):
            words[place][word_of(await sender.send(requests[place]))] += 1

    await asyncio.gather(*(send(sender) for sender in everybody))
    return words


def word_of(answer: Answer) -> str:
    return answer.word if answer.status == 200 else repr(answer)


def handled(database: databases.TestDatabase) -> int:
    return database.query("SELECT count(*) FROM webhook_events WHERE state = 'handled'")[0][0]


def deadlocks(database: databases.TestDatabase) -> int:
    """How often PostgreSQL found one in this database, by its own statistics."""
    if database.kind != "postgres":
        return 0
    return database.query("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")[0][0]
