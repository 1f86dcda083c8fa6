"""A handler that kills its own process does not do so for ever, and a kill is held against nobody for long."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import commands
import databases
import deliveries
import pytest
import receiving
import servers

MODULE = """
import asyncio, os, time
from morag_client import Context, Event, Receiver, RetryPolicy, on

def note(handler, event, context):
    fd = os.open("notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{handler} {event.task_id} {context.attempt}\\n".encode())
    os.close(fd)

@on("task.started", name="steady")
async def steady(event: Event, context: Context):
    note("steady", event, context)

@on("task.started", name="deadly", retry=RetryPolicy(attempts=3, first=0.1, cap=0.1))
def deadly(event: Event, context: Context):
    note("deadly", event, context)
    if event.task_id == "poison":
        time.sleep(0.3)
        os._exit(1)

@on("task.progress", name="slow", retry=RetryPolicy(attempts=2, first=0.1, cap=0.1))
async def slow(event: Event, context: Context):
    note("slow", event, context)
    while not os.path.exists("let_go"):
        await asyncio.sleep(0.01)

receiver = Receiver(insecure=True, lease=0.6, grace=0.2)
"""
DEATHS = 2 + 3
"""Twice nobody is asked, then each is an attempt."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(MODULE)
    return tmp_path


@contextlib.contextmanager
def serving(folder: Path, database: databases.TestDatabase) -> Iterator[commands.Served]:
    with commands.served(folder, "app:receiver", secret=None, MORAG_DATABASE_URL=database.url) as served:
        yield served


def post(url: str, task: str, status: str = "started") -> bool:
    with contextlib.suppress(OSError):
        answer = servers.exchange(url, servers.request_bytes(deliveries.task_body(task, status)))
        return answer is not None and answer.status == 200
    return False


def notes(folder: Path, of: str) -> list[tuple[str, int]]:
    """Handler and attempt of what a task's handlers were called for."""
    path = folder / "notes"
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [(handler, int(attempt)) for handler, task, attempt in lines if task == of]


def runs(database: databases.TestDatabase, handler: str, of: str = "%") -> list[tuple[Any, ...]]:
    """State and attempts of a handler's runs, by task."""
    return database.query(
        "SELECT run.state, run.attempts FROM webhook_handler_runs AS run JOIN webhook_events AS event"  # noqa: S608
        f" ON event.id = run.record_id WHERE event.task_id LIKE '{of}' AND run.handler = '{handler}' ORDER BY event.id"
    )


def test_a_handler_that_kills_its_process_gives_up_and_others_are_handled(
    folder: Path, database: databases.TestDatabase
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = f"http://127.0.0.1:{free.getsockname()[1]}"
    command = [commands.COMMAND, "serve", "app:receiver", "--port", where.rpartition(":")[2]]
    environment = commands.environment(secret=None, MORAG_DATABASE_URL=database.url)
    answered: list[str] = []
    deaths = 0

    # given a process that is started again whenever it has died, and sent something each time
    for starts in range(DEATHS + 3):
        process = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL)
        try:
            if not starts:
                receiving.eventually(lambda: post(where, "poison"), seconds=20)
            while process.poll() is None and not _is_failed(database):
                name = f"other-{len(answered)}"
                answered += [name] if post(where, name) else []
                time.sleep(0.05)
            if process.poll() is None:
                receiving.eventually(lambda: database.query(_OPEN) == [(0,)], seconds=20)
                process.terminate()
            end = process.wait(20)
        finally:
            process.kill()
        if end == 0:
            break
        deaths += 1

    # then it ends as a dead letter which says so, after its attempts
    assert deaths == DEATHS
    assert runs(database, "deadly", "poison") == [("failed", 3)]
    [(error,)] = database.query("SELECT error FROM webhook_handler_runs WHERE state = 'failed'")
    assert error.startswith("ProcessDied: the process ended while this handler ran")
    assert [attempt for handler, attempt in notes(folder, "poison") if handler == "deadly"] == [1, 1, 1, 2, 3]
    # and nobody else paid for it; some may be stored whose answer was cut off
    [(stored,)] = database.query("SELECT count(*) FROM webhook_events")
    assert stored > len(answered) > deaths
    assert runs(database, "steady") == [("succeeded", 1)] * stored
    assert runs(database, "deadly", "other-%") == [("succeeded", 1)] * (stored - 1)


def test_a_kill_is_one_failed_attempt_at_most_and_only_for_who_was_just_called(
    folder: Path, database: databases.TestDatabase
) -> None:
    tasks = ["a", "b", "c"]
    for kill in range(2):
        with serving(folder, database) as served:
            assert kill or all(post(served.url, task, "progress") for task in tasks)
            receiving.eventually(lambda: all(len(notes(folder, task)) == kill + 1 for task in tasks))  # noqa: B023
            served.stop(signal.SIGKILL)
    assert runs(database, "slow") == []

    # when two processes have died with them, one at a time is called, and nobody waits for that
    with serving(folder, database) as served:
        receiving.eventually(lambda: runs(database, "slow") == [("running", 1)])
        assert post(served.url, "other", "started")
        receiving.eventually(lambda: notes(folder, "other") == [("steady", 1), ("deadly", 1)])
        [called] = [task for task in tasks if len(notes(folder, task)) == 3]
        assert sorted(len(notes(folder, task)) for task in tasks) == [2, 2, 3]
        served.stop(signal.SIGKILL)

    # then a third kill is an attempt of that one, whoever comes first, and an orderly end is not
    with serving(folder, database) as served:
        receiving.eventually(lambda: sum(len(notes(folder, task)) for task in tasks) == 8)
        assert served.stop() == 0
    ended = {("died", 1), ("retrying", 1)} if len(notes(folder, called)) == 4 else {("running", 1), ("died", 1)}
    assert set(runs(database, "slow", called)) <= ended
    assert {("retrying", 0)} >= {run for task in tasks if task != called for run in runs(database, "slow", task)}

    (folder / "let_go").touch()
    with serving(folder, database) as served:
        receiving.eventually(lambda: database.query(_OPEN) == [(0,)])
        assert served.stop() == 0
    assert runs(database, "slow", called) == [("succeeded", 2)]
    assert sorted(runs(database, "slow")) == [("succeeded", 1), ("succeeded", 1), ("succeeded", 2)]


def _is_failed(database: databases.TestDatabase) -> bool:
    return database.query("SELECT 1 FROM webhook_events WHERE task_id = 'poison' AND state = 'failed'") != []


_OPEN = "SELECT count(*) FROM webhook_events WHERE state IN ('stored', 'retrying')"
