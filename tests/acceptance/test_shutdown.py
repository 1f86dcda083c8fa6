"""Signals to `morag-client serve`, under load and beside handlers that hang."""

from __future__ import annotations

import contextlib
import itertools
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import commands
import databases
import deliveries
import pytest
import receiving
import servers

MODULE = """
import asyncio, os, threading, time
from morag_client import Context, Event, Receiver, RetryPolicy, on

SPEED = os.environ.get("SPEED", "quick")

def note(word, event, context):
    fd = os.open("notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{word} {event.task_id} {context.attempt}\\n".encode())
    os.close(fd)

@on("task.started", name="async")
async def later(event: Event, context: Context):
    note("async", event, context)
    await asyncio.sleep(600 if SPEED == "hang" else 0.01)

@on("task.started", name="plain")
def plain(event: Event, context: Context):
    note("plain", event, context)
    time.sleep(0.01)

@on("task.completed", name="hangs", timeout=0.5)
def hang(event: Event, context: Context):
    note("hangs", event, context)
    while not os.path.exists("let_go"):
        time.sleep(0.01)
    if event.task_id == "failing" and context.attempt == 1:
        raise ValueError("it went wrong after all")
    note("ends", event, context)

@on("task.progress", name="waits", timeout=0.3)
async def wait(event: Event, context: Context):
    note("waits", event, context)
    await asyncio.sleep(600 if context.attempt == 1 else 0)

@on("task.failed", name="blocks")
async def block(event: Event, context: Context):
    note("blocks", event, context)
    await asyncio.sleep(0)
    time.sleep(600 if SPEED == "hang" else 3)

receiver = Receiver(insecure=True, retry=RetryPolicy(attempts=3, first=0, cap=0))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(MODULE)
    return tmp_path


@contextlib.contextmanager
def serving(folder: Path, database: databases.TestDatabase, **variables: str) -> Iterator[commands.Served]:
    given = {"MORAG_DATABASE_URL": database.url, "MORAG_LEASE": "1", **variables}
    with commands.served(folder, "app:receiver", secret=None, **given) as served:
        yield served


def post(served: commands.Served, task_id: str, status: str = "started") -> int | None:
    try:
        answer = servers.exchange(served.url, servers.request_bytes(deliveries.task_body(task_id, status)))
    except OSError:
        return None
    return None if answer is None else answer.status


def notes(folder: Path, word: str) -> list[str]:
    """Of what happened: task and attempt."""
    path = folder / "notes"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.partition(" ")[2] for line in lines if line.startswith(f"{word} ")]


def states(database: databases.TestDatabase) -> dict[str, int]:
    return dict(database.query("SELECT state, count(*) FROM webhook_events GROUP BY state"))


def runs(database: databases.TestDatabase) -> list[tuple[str, str, int]]:
    return database.query("SELECT handler, state, attempts FROM webhook_handler_runs ORDER BY id")


class Senders:
    """Send a delivery after the other until nobody answers any more."""

    def __init__(self, served: commands.Served, *, count: int) -> None:
        self.answered: list[str] = []
        self.refused: list[int] = []
        self._served = served
        self._numbers = itertools.count()
        self._threads = [threading.Thread(target=self._send, name=f"sender-{number}") for number in range(count)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()

    def _send(self) -> None:
        while (status := post(self._served, task_id := f"task-{next(self._numbers)}")) is not None:
            if status == 200:
                self.answered.append(task_id)
            else:
                self.refused.append(status)


def test_under_load_a_signal_finishes_what_was_answered(folder: Path, database: databases.TestDatabase) -> None:
    # given a server under load
    with serving(folder, database) as served:
        senders = Senders(served, count=8)
        receiving.eventually(lambda: len(senders.answered) > 100)
        # when it gets a signal
        assert served.stop() == 0
        senders.join()

    # then what was answered is stored and handled, and nobody owns anything any more
    stored = {task_id for (task_id,) in database.query("SELECT task_id FROM webhook_events")}
    assert set(senders.answered) <= stored
    assert senders.refused == []
    assert states(database) == {"handled": len(stored)}
    assert sorted(notes(folder, "async")) == sorted(notes(folder, "plain")) == sorted(f"{task} 1" for task in stored)
    assert database.query("SELECT count(*) FROM webhook_tasks WHERE owner IS NOT NULL") == [(0,)]
    assert database.query("SELECT count(*) FROM webhook_workers") == [(0,)]
    assert "Traceback" not in served.output


def test_what_does_not_end_within_the_grace_time_is_given_back(folder: Path, database: databases.TestDatabase) -> None:
    # given handlers that hang, and a client that sends half a body
    with serving(folder, database, SPEED="hang", MORAG_GRACE="0.5", MORAG_LEASE="60") as served:
        assert post(served, "later") == post(served, "stuck", "completed") == 200
        receiving.eventually(lambda: notes(folder, "async") and notes(folder, "hangs"))
        where = urlsplit(served.url)
        with socket.create_connection((where.hostname, where.port)) as client:
            client.sendall(servers.request_bytes(deliveries.task_body())[:-10])
            # when the server gets a signal
            began = time.monotonic()
            assert served.stop() == 0
            took = time.monotonic() - began
    # then it ends soon; what could be cancelled is anybody's at once, what hangs in a thread is nobody's for the lease
    assert took < 5
    assert states(database) == {"stored": 2}
    owners = dict(database.query("SELECT task_id, owner FROM webhook_tasks"))
    assert owners["later"] is None
    assert owners["stuck"] is not None
    with serving(folder, database, MORAG_LEASE="60") as served:
        receiving.eventually(lambda: states(database) == {"stored": 1, "handled": 1}, seconds=5)
        assert served.stop() == 0
    assert notes(folder, "async") == ["later 1", "later 1"]
    assert notes(folder, "plain") == ["later 1"]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("word", "status", "first", "second"),
    [
        ("async", "started", signal.SIGTERM, signal.SIGTERM),
        ("hangs", "completed", signal.SIGTERM, signal.SIGINT),
        ("blocks", "failed", signal.SIGINT, signal.SIGINT),
    ],
)
def test_a_second_signal_ends_at_once_and_loses_nothing(
    folder: Path,
    database: databases.TestDatabase,
    word: str,
    status: str,
    first: signal.Signals,
    second: signal.Signals,
) -> None:
    # given a handler that does not end
    with serving(folder, database, SPEED="hang", MORAG_GRACE="60") as served:
        assert post(served, "a", status) == 200
        receiving.eventually(lambda: notes(folder, word))
        served.process.send_signal(first)
        with pytest.raises(subprocess.TimeoutExpired):
            served.process.wait(1)
        # when a second signal comes
        began = time.monotonic()
        assert served.stop(second) == -second
        assert time.monotonic() - began < 1

    # then the next start takes up what was left
    (folder / "let_go").touch()
    with serving(folder, database) as served:
        receiving.eventually(lambda: states(database) == {"handled": 1})
        assert served.stop() == 0
    assert len(notes(folder, word)) == 2


def test_a_plain_handler_that_hangs_is_stuck_and_not_run_beside_itself(
    folder: Path, database: databases.TestDatabase
) -> None:
    # given a handler that is over its time, in one of two processes
    with serving(folder, database) as one, serving(folder, database) as other:
        assert post(one, "failing", "completed") == 200
        receiving.eventually(lambda: runs(database) == [("hangs", "stuck", 1)])
        assert "handler hangs has not ended within 0.5 s" in one.output
        # when more comes for its task, to either of them, for longer than the lease
        assert post(other, "failing", "completed") == post(one, "failing") == 200
        time.sleep(1.5)
        # then it runs once, and the others wait for it
        assert notes(folder, "hangs") == ["failing 1"]
        assert notes(folder, "async") == []
        # and when it ends, its outcome is stored and it is tried again as ever
        (folder / "let_go").touch()
        receiving.eventually(lambda: states(database) == {"handled": 3})
        assert [one.stop(), other.stop()] == [0, 0]
    assert sorted(notes(folder, "hangs")) == ["failing 1", "failing 1", "failing 2", "failing 2"]
    assert notes(folder, "ends") == ["failing 2", "failing 2"]
    assert runs(database)[0] == ("hangs", "succeeded", 2)


def test_an_async_handler_that_hangs_is_cancelled_and_tried_again(
    folder: Path, database: databases.TestDatabase
) -> None:
    with serving(folder, database) as served:
        assert post(served, "a", "progress") == 200
        receiving.eventually(lambda: states(database) == {"handled": 1})
        assert served.stop() == 0

    assert notes(folder, "waits") == ["a 1", "a 2"]
    assert runs(database) == [("waits", "succeeded", 2)]
    assert "HandlerTimeout: it did not end within 0.3 s (timeout=)" in served.output


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_an_async_handler_that_blocks_the_event_loop_is_named(folder: Path, database: databases.TestDatabase) -> None:
    with serving(folder, database) as served:
        # given handlers that take their time as they should
        assert [post(served, f"task-{number}") for number in range(20)] == [200] * 20
        assert post(served, "b", "completed") == post(served, "c", "progress") == 200
        receiving.eventually(lambda: len(notes(folder, "plain")) == 20)
        # when one blocks
        assert post(served, "a", "failed") == 200
        receiving.eventually(lambda: notes(folder, "blocks"))
        began = time.monotonic()
        # then it is named while it does, once, and no other is
        receiving.eventually(lambda: "handler blocks blocks the event loop" in served.output)
        assert time.monotonic() - began < 2
        (folder / "let_go").touch()
        receiving.eventually(lambda: set(states(database)) == {"handled"})
        assert served.stop() == 0
    assert served.output.count("blocks the event loop") == 1
