"""The database away while deliveries come: each is answered in time, nothing that was taken is lost, and it heals."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import commands
import databases
import deliveries
import proxies
import pytest
import receiving
import servers
from senders import Answer, Sender, request_of
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from morag_client import Context, Event, Registry, RetryPolicy
from morag_client.errors import InboxUnavailable

MODULE = """
import os
from morag_client import Event, Receiver, on

notes = os.open("notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

@on("*", name="notes")
async def note(event: Event) -> None:
    os.write(notes, f"{event.task_id}\\n".encode())

receiver = Receiver()
"""
SENDERS = 24
AWAY = 8.0
"""Seconds; longer than what any delivery waits for."""
LONGEST = 3.5
"""Seconds within which every delivery is answered."""
HEALED = 5.0
"""Seconds within which deliveries are taken again."""
NAMESPACE = ("--mount", "--map-root-user")
READY = servers.request_bytes(b"", method=b"GET", target=b"/health/ready")
NO_OBJECT = b"[]"
"""A body that is kept in quarantine."""


@dataclass(frozen=True)
class Moment:
    """An answer, and when it was asked for."""

    asked_at: float
    answer: Answer


@dataclass
class Load:
    """Deliveries from many connections, each sent again until it is taken."""

    url: str
    answers: list[Moment] = field(default_factory=list)
    ready: list[Moment] = field(default_factory=list)
    quarantined: list[Moment] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Load]:
        over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for number in range(SENDERS):
                group.create_task(self._send(number, over))
            group.create_task(self._ask(READY, self.ready, over))
            group.create_task(self._ask(request_of(NO_OBJECT), self.quarantined, over))
            try:
                yield self
            finally:
                over.set()

    async def _send(self, number: int, over: asyncio.Event) -> None:
        sender, count = Sender(self.url), 0
        while not over.is_set():
            task = f"task-{number}-{count}"
            moment = await self._exchange(sender, request_of(deliveries.step_body(task, data={"number": count})))
            self.answers.append(moment)
            if moment.answer.status == 200:
                self.taken.add(task)
                count += 1
            await asyncio.sleep(0.05)
        sender.close()

    async def _ask(self, request: bytes, moments: list[Moment], over: asyncio.Event) -> None:
        sender = Sender(self.url)
        while not over.is_set():
            moments.append(await self._exchange(sender, request))
            await asyncio.sleep(0.1)
        sender.close()

    async def _exchange(self, sender: Sender, request: bytes) -> Moment:
        asked_at = time.monotonic()
        return Moment(asked_at, await sender.send(request))


async def heals(
    folder: Path,
    database: databases.TestDatabase,
    served: commands.Served,
    outage: Callable[[], AbstractContextManager[None]],
) -> None:
    """Puts a running receiver under load through an outage; everything is in order at the end."""
    async with Load(served.url).running() as load:
        await receiving.until(lambda: len(load.taken) > 100)
        with outage():
            began = time.monotonic()
            await asyncio.sleep(AWAY)
            ended = time.monotonic()
        await receiving.until(lambda: healthy(load.answers, after=ended), seconds=HEALED)
        await receiving.until(lambda: healthy(load.ready, after=ended), seconds=HEALED)
        before = len(load.taken)
        await receiving.until(lambda: len(load.taken) > before + 100)

    # then every delivery was answered in time
    assert [one for one in [*load.answers, *load.ready] if one.answer.seconds > LONGEST] == []
    assert {one.answer.status for one in load.answers} == {200, 503}
    # and it said that it is not ready
    assert {one.answer.status for one in load.ready} == {200, 503}
    assert {one.answer.status for one in load.ready if began + 1.0 < one.asked_at < ended - LONGEST} == {503}
    # and what cannot be understood was quarantined, or not answered as if it were
    assert {one.answer.status for one in load.quarantined} == {400, 503}
    assert database.query("SELECT count(*) FROM webhook_quarantine") == [(1,)]
    # and everything that was taken is there once, and has been handled
    await asyncio.to_thread(receiving.eventually, lambda: waiting(database) == 0, seconds=30)
    stored = [task for (task,) in database.query("SELECT task_id FROM webhook_events")]
    assert len(stored) == len(set(stored))
    assert load.taken <= set(stored)
    assert set(stored) <= set((folder / "notes").read_text().split())


def healthy(moments: list[Moment], *, after: float) -> bool:
    return any(one.answer.status == 200 for one in moments if one.asked_at > after)


def waiting(database: databases.TestDatabase) -> int:
    return database.query("SELECT count(*) FROM webhook_events WHERE state <> 'handled'")[0][0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(MODULE)
    return tmp_path


@pytest.mark.timeout(120)
@pytest.mark.parametrize("mode", ["refuse", "hang", "deaf", "reset"])
async def test_postgres_is_cut_off(folder: Path, mode: proxies.Mode) -> None:
    with databases.fresh("postgres", folder) as database, proxies.before(database.url) as proxy:

        @contextmanager
        def outage() -> Iterator[None]:
            proxy.set(mode)
            yield
            proxy.set("pass")

        url = proxy.through(database.url)
        with commands.served(folder, "app", "--no-access-log", "--database-url", url) as served:
            await heals(folder, database, served, outage)
            assert served.stop() == 0


@pytest.mark.timeout(120)
async def test_the_disk_is_full(folder: Path) -> None:
    need_file_systems()
    disk = folder / "disk"
    disk.mkdir()
    with commands.served(
        folder,
        *("app", "--no-access-log", "--database-url", f"sqlite:///{disk}/inbox.db"),
        within=("unshare", *NAMESPACE, "sh", "-c", mounting(disk), "sh"),
    ) as served:
        database = Elsewhere("sqlite", "", disk / "inbox.db", pid=served.process.pid)
        await heals(folder, database, served, lambda: filling(Path(f"/proc/{served.process.pid}/root{disk}")))
        assert served.stop() == 0
    assert "database or disk is full" in served.output


@pytest.mark.timeout(120)
async def test_the_file_becomes_read_only(folder: Path) -> None:
    need_immutable_files(folder)
    database = databases.TestDatabase("sqlite", f"sqlite:///{folder}/inbox.db", folder / "inbox.db")
    with commands.served(folder, "app", "--no-access-log", "--database-url", database.url) as served:
        await heals(folder, database, served, lambda: immutable(folder / "inbox.db", folder / "inbox.db-wal"))
        assert served.stop() == 0
    assert "readonly database" in served.output


@dataclass(frozen=True)
class Elsewhere(databases.TestDatabase):
    """A SQLite file in a file system that only a process and its like can see."""

    pid: int = 0

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        ask = "sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchall()"
        script = f"import json, sqlite3, sys; print(json.dumps({ask}))"
        within = ("nsenter", "--target", str(self.pid), "--mount", "--user", "--preserve-credentials")
        done = subprocess.run(
            [*within, sys.executable, "-c", script, self.path, sql], capture_output=True, text=True, check=True
        )
        return [tuple(row) for row in json.loads(done.stdout)]


def need_file_systems() -> None:
    done = subprocess.run(["unshare", *NAMESPACE, "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no process can have file systems of its own here: {done.stderr.strip()}")


def mounting(disk: Path) -> str:
    return f'mount -t tmpfs -o size=64m none "{disk}" && exec "$@"'


@contextmanager
def filling(disk: Path) -> Iterator[None]:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    try:
        assert os.statvfs(disk).f_bavail == 0
        yield
    finally:
        filler.unlink()


def need_immutable_files(folder: Path) -> None:
    """A permission does not bind the superuser; the attribute of a file does, where there is one."""
    probe = folder / "probe"
    probe.touch()
    made = subprocess.run(["chattr", "+i", probe], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no file can be made immutable here: {made.stderr.strip()}")
    subprocess.run(["chattr", "-i", probe], check=True)


@contextmanager
def immutable(*paths: Path) -> Iterator[None]:
    subprocess.run(["chattr", "+i", *paths], check=True)
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", *paths], check=True)


async def test_what_was_opened_while_the_file_was_read_only_is_not_kept(folder: Path) -> None:
    need_immutable_files(folder)
    registry, gate, seen = Registry(), asyncio.Event(), list[int]()

    @registry.on("task.completed", name="writes", retry=RetryPolicy(attempts=9, first=0.2, cap=0.2))
    async def write(event: Event, context: Context, session: AsyncSession) -> None:
        seen.append(context.attempt)
        await gate.wait()
        await session.execute(text("INSERT INTO effects VALUES (1)"))

    # given an inbox that nothing was written into since it was opened, and handlers that are about to write
    async with receiving.working(folder, registry) as receiver:
        await receiving.send(receiver, deliveries.task_body("before", "started"))
        await receiver.idle()
    database = databases.TestDatabase("sqlite", receiving.url_of(folder), folder / "inbox.db")
    database.execute("CREATE TABLE effects (number INTEGER)")
    async with receiving.working(folder) as taking, receiving.working(folder, registry) as handling:
        await receiving.send(handling, *(deliveries.task_body(f"effect-{number}", "completed") for number in range(4)))
        await receiving.until(lambda: seen == [1] * 4)

        # when it is read-only for a while
        with immutable(folder / "inbox.db", folder / "inbox.db-wal"):
            gate.set()
            with pytest.raises(InboxUnavailable, match="readonly"):
                await receiving.send(taking, deliveries.task_body("later"))
            await asyncio.sleep(0.5)

        # then it is taken, and all of it handled, as soon as that is over
        await receiving.send(taking, deliveries.task_body("later"))
        await asyncio.to_thread(receiving.eventually, lambda: waiting(database) == 0)
    assert database.query("SELECT count(*) FROM effects") == [(4,)]
    assert max(seen) <= 3, seen
