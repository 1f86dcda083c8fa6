"""SQLite as an inbox: really on the disk, one writer, and never for longer than the sender waits."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import time
import traceback
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import deliveries
import inboxes
import pytest
from sqlalchemy import Connection

from morag_client.errors import InboxUnavailable
from morag_client.inbox.inbox import Inbox

HERE = Path(__file__).parent


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "inbox.db"


@pytest.fixture
async def inbox(path: Path) -> AsyncIterator[Inbox]:
    async with inboxes.opened(f"sqlite:///{path}") as opened:
        yield opened


@pytest.fixture
def lock(inbox: Inbox, path: Path) -> Iterator[sqlite3.Connection]:
    """Another process's connection, as it were; what it begins keeps everybody else from writing."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=1.0)
    yield connection
    connection.close()


def pragmas(connection: Connection) -> list[Any]:
    names = ("journal_mode", "synchronous", "busy_timeout", "foreign_keys", "wal_autocheckpoint")
    return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]


async def test_the_pragmas_in_force_where_everything_is_written(inbox: Inbox) -> None:
    assert await inbox.database.write(pragmas) == ["wal", 2, 2500, 1, 64_000]


async def test_the_pragmas_in_force_where_it_is_read_and_where_handlers_write(inbox: Inbox) -> None:
    assert (await inbox.database.read(pragmas))[:4] == ["wal", 2, 2500, 1]
    async with inbox.database.engine.begin() as connection:
        assert (await connection.run_sync(pragmas))[:4] == ["wal", 2, 2500, 1]


PROGRAM = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
import deliveries, inboxes

async def main():
    async with inboxes.opened(sys.argv[2]) as inbox:
        await inboxes.record(inbox, deliveries.task_body())
        sys.stderr.write("MARK\\n")
        for _ in range(20):
            await inboxes.record(inbox, deliveries.task_body())
        sys.stderr.write("MARK\\n")
        await asyncio.gather(*(inboxes.record(inbox, deliveries.task_body()) for _ in range(200)))
        sys.stderr.write("MARK\\n")

asyncio.run(main())
"""


@pytest.mark.skipif(
    not (shutil.which("cc") and sys.platform == "linux"), reason="needs a C compiler to see the system's calls"
)
def test_each_commit_waits_for_the_disk(path: Path, tmp_path: Path) -> None:
    shim = tmp_path / "syncs.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", shim, HERE / "syncs.c", "-ldl"], check=True)

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(Path(inboxes.__file__).parent), f"sqlite:///{path}"],
        env={**os.environ, "LD_PRELOAD": str(shim)},
        capture_output=True,
        text=True,
        timeout=40,
        check=True,
    )

    _, singly, together, _ = done.stderr.split("MARK\n")
    assert singly.count(f"sync {path}-wal\n") == 20
    assert 1 <= together.count(f"sync {path}-wal\n") < 20


async def test_a_database_that_is_busy_is_unavailable_in_time_and_recovers(
    inbox: Inbox, lock: sqlite3.Connection
) -> None:
    lock.execute("BEGIN IMMEDIATE")
    body, misfit = deliveries.task_body(), b"misfit"
    began = time.monotonic()

    inserting, quarantining = await asyncio.gather(
        inboxes.record(inbox, body), inboxes.quarantine(inbox, misfit, "x"), return_exceptions=True
    )

    assert 2 < time.monotonic() - began < 3.5
    assert isinstance(inserting, InboxUnavailable)
    assert isinstance(quarantining, InboxUnavailable)
    lock.execute("ROLLBACK")
    await inboxes.record(inbox, body)  # which may have been stored meanwhile: then this is a duplicate
    await inboxes.quarantine(inbox, misfit, "x")
    assert len(await inboxes.rows_of(inbox, "events", "id")) == 1
    assert len(await inboxes.rows_of(inbox, "quarantine", "id")) == 1


async def test_those_who_wait_behind_a_busy_commit_are_told_in_time_too(path: Path, tmp_path: Path) -> None:
    async with inboxes.opened(f"sqlite:///{path}", commit_timeout=0.3) as inbox:
        lock = sqlite3.connect(path, isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        first = asyncio.create_task(inboxes.record(inbox, deliveries.task_body()))
        await asyncio.sleep(0.1)
        began = time.monotonic()

        with pytest.raises(InboxUnavailable, match=r"within 0\.3 s"):
            await inboxes.record(inbox, deliveries.task_body())

        assert 0.25 < time.monotonic() - began < 1.5
        with pytest.raises(InboxUnavailable):
            await first
        lock.execute("ROLLBACK")
        lock.close()
        # It was told that it failed; what is stored of it all the same makes its repetition a duplicate.
        async with asyncio.timeout(3):
            while len(await inboxes.rows_of(inbox, "events", "id")) < 2:
                await asyncio.sleep(0.02)


async def test_what_waits_is_bounded_in_bytes(path: Path) -> None:
    async with inboxes.opened(f"sqlite:///{path}", commit_timeout=0.5) as inbox:
        lock = sqlite3.connect(path, isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        padding = b" " * 30_000_000
        rows = [inboxes.row(deliveries.task_body())._replace(body=padding) for _ in range(12)]
        tasks = [asyncio.create_task(inbox._writer.record(row)) for row in rows]

        done, _ = await asyncio.wait(tasks, timeout=0.2)

        assert 1 <= len(done) <= 3
        for task in done:
            with pytest.raises(InboxUnavailable, match="too many deliveries wait"):
                task.result()
        lock.execute("ROLLBACK")
        lock.close()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert not [result for result in results if not isinstance(result, InboxUnavailable) and not result.is_new]


async def test_what_waits_is_bounded_in_rows(inbox: Inbox, lock: sqlite3.Connection) -> None:
    lock.execute("BEGIN IMMEDIATE")
    row = inboxes.row(deliveries.task_body())
    rows = [row._replace(identity=number.to_bytes(16)) for number in range(20_500)]
    tasks = [asyncio.create_task(inbox._writer.record(row)) for row in rows]

    done, _ = await asyncio.wait(tasks, timeout=0.2)
    for task in tasks[:-1]:
        task.cancel()
    lock.execute("ROLLBACK")

    assert 100 <= len(done) <= 500
    with pytest.raises(InboxUnavailable, match="too many deliveries wait"):
        await tasks[-1]
    await asyncio.gather(*tasks, return_exceptions=True)


# A connection that is cancelled while the driver makes it is nobody's to close; from 3.13 on, Python says so.
@pytest.mark.filterwarnings("ignore:Exception ignored in.*_Connection:pytest.PytestUnraisableExceptionWarning")
async def test_what_is_cancelled_in_the_middle_of_a_transaction_keeps_no_lock(
    inbox: Inbox, lock: sqlite3.Connection
) -> None:
    await inboxes.record(inbox, deliveries.task_body())

    async def write() -> None:
        async with inbox.database.engine.begin() as connection:
            for _ in range(3):
                await connection.exec_driver_sql("UPDATE webhook_events SET hidden = hidden + 1 RETURNING id")

    kept = []  # with the tracebacks, and all that these hold on to
    for microseconds in range(0, 5000, 15):
        kept.append(asyncio.create_task(write()))
        await asyncio.sleep(microseconds / 1e6)
        kept[-1].cancel()
        await asyncio.wait(kept[-1:])
        lock.execute("BEGIN IMMEDIATE")
        lock.execute("ROLLBACK")

    ended = [task.cancelled() for task in kept]
    assert 10 < sum(ended) < len(ended)
    [row] = await inboxes.rows_of(inbox, "events", "id, hidden")
    assert row.hidden % 3 == 0
    assert row.hidden >= 3 * ended.count(False)  # some are cancelled when they are committed already


async def test_a_batch_that_has_begun_is_not_abandoned(inbox: Inbox, lock: sqlite3.Connection) -> None:
    rows = [inboxes.row(deliveries.task_body())]
    lock.execute("BEGIN IMMEDIATE")
    inserting = asyncio.create_task(inbox._insertion().insert(rows))
    await asyncio.sleep(0.05)
    inserting.cancel()
    await asyncio.sleep(0.05)

    assert not inserting.done()
    assert inbox.database.write_lock.locked()  # nobody else may write meanwhile
    lock.execute("ROLLBACK")
    await asyncio.wait([inserting], timeout=5)
    assert inserting.cancelled()
    assert len(await inboxes.rows_of(inbox, "events", "id")) == 1


async def test_the_databases_errors_do_not_tell_of_bodies(inbox: Inbox) -> None:
    row = {"path": "s3cret-canary"}

    with pytest.raises(InboxUnavailable) as caught:
        await inbox.database.write(lambda connection: connection.execute(inbox.database.tables.events.insert(), row))

    assert "NOT NULL" in str(caught.value)
    assert "s3cret-canary" not in "".join(traceback.format_exception(caught.value))


async def test_a_write_that_fails_is_rolled_back_and_the_next_one_works(inbox: Inbox) -> None:
    def work(connection: Connection) -> None:
        connection.exec_driver_sql("CREATE TABLE notes (id INTEGER)")
        raise ValueError("no")

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            await inbox.database.write(work)
    await inboxes.run_sql(inbox, "CREATE TABLE notes (id INTEGER)")


async def test_closing_waits_for_a_write_that_has_begun(path: Path) -> None:
    async with inboxes.opened(f"sqlite:///{path}") as inbox:
        writing = asyncio.create_task(inboxes.run_sql(inbox, "CREATE TABLE notes (id INTEGER)"))
        await asyncio.sleep(0)

    await writing
