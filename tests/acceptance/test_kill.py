"""kill -9 at any moment: what was answered 200 is stored once, and every handler runs to success.

More kills than CI makes: `scripts/test tests/acceptance/test_kill.py --kills 200`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
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
import asyncio
import os
import random
import time

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from morag_client import Event, Receiver, RetryPolicy, on

diary = os.open("diary", os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def write(handler, event):
    os.write(diary, f"{handler} {number_of(event)}\\n".encode())


def number_of(event):
    return event.raw["data"]["number"]


@on("*", name="async")
async def later(event: Event):
    await asyncio.sleep(random.uniform(0, 0.02))
    write("async", event)


@on("*", name="plain")
def plain(event: Event):
    time.sleep(random.uniform(0, 0.02))
    write("plain", event)


@on("*", name="money", retry=RetryPolicy(attempts=1000, first=0.2, cap=0.2))
async def money(event: Event, session: AsyncSession):
    number = number_of(event)
    await session.execute(text(f"UPDATE accounts SET balance = balance + 1 WHERE id = {number % 5}"))
    await asyncio.sleep(random.uniform(0, 0.005))
    await session.execute(text(f"INSERT INTO bookings (number) VALUES ({number})"))
    if random.random() < 0.05:
        raise ConnectionError("the bank hung up")


receiver = Receiver(lease=1.0, grace=5.0, insecure=True)
"""
AT_A_MOMENT = """
import os
import signal

from sqlalchemy import event as events, text
from sqlalchemy.ext.asyncio import AsyncSession

from morag_client import Context, Event, Receiver, RetryPolicy, on

MOMENT, ATTEMPT = os.environ["MOMENT"], int(os.environ["ATTEMPT"])


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


@on("*", name="money", retry=RetryPolicy(attempts=3, first=0, cap=0))
async def money(event: Event, context: Context, session: AsyncSession):
    await session.execute(text("INSERT INTO bookings VALUES (1)"))
    if context.attempt < ATTEMPT:
        raise ConnectionError("the bank hung up")
    if not os.path.exists("killed"):
        open("killed", "w").close()
        if MOMENT == "written":
            die()
        events.listen(session.sync_session, MOMENT, die)


receiver = Receiver(lease=0.5, insecure=True)
"""
HANDLERS = ("async", "money", "plain")
SENDERS = 6
PAUSE = 0.03
"""Seconds between two deliveries of a sender: what waits must not become more and more."""


class Sender:
    """Sends numbered steps of a few tasks for as long as it is let; the same bytes again where no answer came."""

    def __init__(self, first: int, target: Target) -> None:
        self.sent: list[int] = []
        self.answered: list[int] = []
        self.refused: list[tuple[int, bytes]] = []
        self.duplicates = 0
        self._numbers = range(first, sys.maxsize, SENDERS)
        self._target = target
        self._thread = threading.Thread(target=self._send_all, name=f"sender-{first}")

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _send_all(self) -> None:
        for number in self._numbers:
            if self._target.is_over.wait(PAUSE):
                return
            body = deliveries.step_body(f"task-{number % 30}", data={"number": number})
            self.sent.append(number)
            if self._send(number, body) and number % 10 == 0:
                self._send(number, body)

    def _send(self, number: int, body: bytes) -> bool:
        """Whether it was answered with 200 before the end."""
        while not self._target.is_over.is_set():
            answer = self._target.post(body)
            if answer is None:
                time.sleep(0.02)
                continue
            status, content = answer
            if status == 200:
                self.duplicates += json.loads(content)["status"] == "duplicate"
                self.answered.append(number)
                return True
            self.refused.append((status, content))
            time.sleep(0.02)
        return False


class Target:
    """Where senders send to, while there is somebody."""

    def __init__(self) -> None:
        self.url: str | None = None
        self.is_over = threading.Event()

    def post(self, body: bytes) -> tuple[int, bytes] | None:
        """The answer; None where there was none."""
        if self.url is None:
            return None
        where = urlsplit(self.url)
        connection = http.client.HTTPConnection(where.hostname, where.port, timeout=10)
        try:
            connection.request("POST", "/webhook", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()


@contextlib.contextmanager
def sending(target: Target) -> Iterator[list[Sender]]:
    senders = [Sender(first, target) for first in range(1, SENDERS + 1)]
    for sender in senders:
        sender.start()
    try:
        yield senders
    finally:
        target.is_over.set()
        for sender in senders:
            sender.join()


def kill_while_starting(folder: Path, url: str, *, after: float) -> None:
    process = subprocess.Popen(
        [commands.COMMAND, "serve", "app:receiver", "--port", "0"],
        cwd=folder,
        env=commands.environment(secret=None, MORAG_DATABASE_URL=url, MORAG_INSECURE="true"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(after)
    process.kill()
    process.wait(10)


def kill_at_work(folder: Path, url: str, target: Target, *, after: float) -> None:
    with commands.served(folder, "app:receiver", secret=None, MORAG_DATABASE_URL=url) as served:
        target.url = served.url
        receiving.eventually(lambda: is_ready(served.url))
        time.sleep(after)
        assert served.stop(signal.SIGKILL) == -signal.SIGKILL
        target.url = None


def is_ready(url: str) -> bool:
    answer = servers.exchange(url, servers.request_bytes(b"", target=b"/health/ready", method=b"GET"))
    return answer is not None and answer.status == 200


def waiting(database: databases.TestDatabase) -> int:
    return database.query("SELECT count(*) FROM webhook_events WHERE state <> 'handled'")[0][0]


@pytest.mark.parametrize(
    ("moment", "attempt"), [("written", 1), ("before_commit", 1), ("after_commit", 1), ("after_commit", 2)]
)
def test_killed_around_the_commit_of_a_handlers_transaction(
    database: databases.TestDatabase, tmp_path: Path, moment: str, attempt: int
) -> None:
    (tmp_path / "app.py").write_text(AT_A_MOMENT)
    database.execute("CREATE TABLE bookings (number INTEGER NOT NULL)")
    given = {"secret": None, "MORAG_DATABASE_URL": database.url, "MOMENT": moment, "ATTEMPT": str(attempt)}

    with commands.served(tmp_path, "app:receiver", **given) as served:
        answer = servers.exchange(served.url, servers.request_bytes(deliveries.task_body()))
        assert answer is not None
        assert answer.status == 200
        assert served.process.wait(10) == -signal.SIGKILL
    with commands.served(tmp_path, "app:receiver", **given) as served:
        receiving.eventually(lambda: waiting(database) == 0)
        assert served.stop() == 0

    assert database.query("SELECT number FROM bookings") == [(1,)]
    assert database.query("SELECT handler, state, attempts FROM webhook_handler_runs") == [
        ("money", "succeeded", attempt)
    ]


@pytest.mark.timeout(3600)  # for as many kills as one likes; each wait within has a limit of its own
def test_nothing_is_lost_and_money_is_counted_once(
    database: databases.TestDatabase, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    kills = request.config.getoption("kills")
    seed = request.config.getoption("seed") or random.randrange(2**32)  # noqa: S311
    print(f"--seed {seed}")
    (tmp_path / "app.py").write_text(MODULE)
    database.execute(
        "CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL)",
        "INSERT INTO accounts VALUES (0, 0), (1, 0), (2, 0), (3, 0), (4, 0)",
        "CREATE TABLE bookings (number INTEGER NOT NULL)",
    )

    # given a server under load that is killed again and again, while it starts too
    target = Target()
    with sending(target) as senders:
        for after, at_work in moments(kills, seed=seed):
            if at_work:
                kill_at_work(tmp_path, database.url, target, after=after)
            else:
                kill_while_starting(tmp_path, database.url, after=after)

    # when one is let
    with commands.served(tmp_path, "app:receiver", secret=None, MORAG_DATABASE_URL=database.url) as served:
        receiving.eventually(lambda: waiting(database) == 0, seconds=60)
        assert served.stop() == 0

    # then all that was answered is there, once, and each handler is through with it
    answered = {number for sender in senders for number in sender.answered}
    assert len(answered) > kills
    assert [refusal for sender in senders for refusal in sender.refused] == []
    bodies = database.query("SELECT body FROM webhook_events")
    stored = sorted(json.loads(bytes(body))["data"]["number"] for (body,) in bodies)
    assert len(stored) == len(set(stored))
    assert answered <= set(stored) <= {number for sender in senders for number in sender.sent}
    runs = database.query("SELECT handler, state, count(*) FROM webhook_handler_runs GROUP BY 1, 2 ORDER BY 1")
    assert runs == [(handler, "succeeded", len(stored)) for handler in HANDLERS]
    diary = Counter((tmp_path / "diary").read_text().splitlines())
    assert diary.keys() == {f"{handler} {number}" for handler in ("async", "plain") for number in stored}
    # and the money was counted exactly once, however often its handler began
    assert database.query("SELECT number FROM bookings ORDER BY 1") == [(number,) for number in stored]
    assert database.query("SELECT sum(balance) FROM accounts") == [(len(stored),)]
    print(f"{len(stored)} stored, {len(stored) - len(answered)} of them unanswered, {diary.total()} plain runs")


def moments(kills: int, *, seed: int) -> Iterator[tuple[float, bool]]:
    """After how many seconds to kill, and whether they count from when it is ready or from when it is started."""
    draw = random.Random(seed)  # noqa: S311
    for _ in range(kills):
        at_work = draw.random() < 0.75
        yield draw.uniform(0, 0.8 if at_work else 1.5), at_work
