"""The wall clock jumps: nothing waits for it for long, nothing is done again and again because of it."""

from __future__ import annotations

import asyncio
import os
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import commands
import databases
import deliveries
import inboxes
import pytest
import receiving
import servers
from sqlalchemy import event as events

from morag_client import Context, Event, Receiver, Registry, RetryLater

HERE = Path(__file__).parent
HOUR, DAY = 3600, 24 * 3600
JUMPS = [-DAY, -HOUR, HOUR, DAY]
LEASE = 1.5
WAIT = 0.6
"""Seconds between the attempts."""
IDLE = 3 * (3 / LEASE) + 3
"""Statements a second of an engine that has nothing to do: three at each of the three heartbeats in a lease, and three
of the sweep, once a second. One that turns without a pause makes hundreds."""
ATTEMPT = 14
"""Statements, at most, of one attempt: its record read, claimed with its task, settled, the task given back."""

MODULE = """
import os
from morag_client import Context, Event, Receiver, RetryLater, on

@on("*", name="fails-once")
async def fail_once(event: Event, context: Context):
    if context.attempt == 1:
        raise RetryLater(1)

receiver = Receiver(insecure=True, lease=1.5)
"""


@pytest.mark.skipif(not (shutil.which("cc") and sys.platform == "linux"), reason="needs a C compiler to move the clock")
def test_a_server_whose_clock_jumps(tmp_path: Path) -> None:
    # given a server whose wall clock the test can move
    (tmp_path / "app.py").write_text(MODULE)
    shim, offset = tmp_path / "clock.so", tmp_path / "offset"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", shim, HERE / "clock.c"], check=True)
    offset.write_bytes(struct.pack("q", 0))
    given = {"LD_PRELOAD": str(shim), "CLOCK_OFFSET": str(offset), "MORAG_DATABASE_URL": "sqlite:///inbox.db"}
    with commands.served(tmp_path, "app:receiver", secret=None, **given) as served:
        for number, jump in enumerate([*JUMPS, 0]):
            # when it jumps, while one event waits for its second attempt
            assert post(served.url, f"before-{number}") == 200
            receiving.eventually(lambda number=number: attempts(tmp_path).get(f"before-{number}") == 1)
            with offset.open("r+b") as file:
                file.write(struct.pack("q", jump))
            began = time.monotonic()
            assert post(served.url, f"after-{number}") == 200
            # then that comes when it should, or at the next heartbeat
            wanted = {f"before-{number}": 2, f"after-{number}": 2}
            receiving.eventually(lambda wanted=wanted: wanted.items() <= attempts(tmp_path).items(), seconds=6)
            assert receiving.query(tmp_path, "SELECT DISTINCT state FROM webhook_events") == [("handled",)]
            # and the server is idle again
            used = cpu_seconds(served.process.pid)
            time.sleep(1)
            assert cpu_seconds(served.process.pid) - used < 0.3
            print(f"{jump:+} s: {time.monotonic() - began:.1f} s")
        assert served.stop() == 0
    [(oldest, newest)] = receiving.query(tmp_path, "SELECT min(received_at), max(received_at) FROM webhook_events")
    assert oldest[:10] < newest[:10], "the clock did not move"


def post(url: str, task_id: str) -> int:
    answer = servers.exchange(url, servers.request_bytes(deliveries.task_body(task_id)))
    return 0 if answer is None else answer.status


def attempts(folder: Path) -> dict[str, int]:
    return dict(
        receiving.query(
            folder,
            "SELECT task_id, attempts FROM webhook_handler_runs JOIN webhook_events ON webhook_events.id = record_id",
        )
    )


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def shift(database: databases.TestDatabase, seconds: float) -> None:
    """Lets all that is stored have been so by a clock that was put back by so many seconds since."""
    database.execute(
        f"UPDATE webhook_workers SET heartbeat_at = heartbeat_at + {seconds}",  # noqa: S608  # a number of ours
        f"UPDATE webhook_handler_runs SET next_attempt_at = next_attempt_at + {seconds},"  # noqa: S608
        f" scheduled_at = scheduled_at + {seconds}",
    )


class Counter:
    """Counts the statements of a receiver at work, by the time that it took."""

    def __init__(self, receiver: Receiver) -> None:
        self.start_over()
        database = receiver._lifecycle._runtime.inbox.database
        engines = [database.engine.sync_engine]
        if database.is_sqlite:
            engines.append(database.thread._engine)
        for engine in engines:
            events.listen(engine, "before_cursor_execute", self._note)

    def start_over(self) -> None:
        self.count, self._began = 0, time.monotonic()

    def assert_calm(self, *, attempts: int = 0) -> None:
        """No more was asked than twice what an idle engine asks in this time, and what so many attempts need."""
        assert self.count < 2 * IDLE * (time.monotonic() - self._began) + attempts * ATTEMPT

    def _note(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        # SQLite's are said aloud, PostgreSQL's are not.
        self.count += not statement.startswith("BEGIN")


def receiver_of(database: databases.TestDatabase, registry: Registry) -> Receiver:
    return Receiver(registry=registry, secrets=deliveries.SECRET, database_url=database.url, lease=LEASE)


def failing_once(seen: list[tuple[str | None, int]]) -> Registry:
    registry = Registry()

    @registry.on("*", name="fails-once")
    async def fail_once(event: Event, context: Context) -> None:
        seen.append((event.task_id, context.attempt))
        if context.attempt == 1:
            raise RetryLater(WAIT)

    return registry


@pytest.mark.parametrize("jump", JUMPS)
async def test_stored_times_that_jump_under_a_worker(database: databases.TestDatabase, jump: int) -> None:
    seen: list[tuple[str | None, int]] = []
    receiver = receiver_of(database, failing_once(seen))
    async with receiver.lifespan():
        statements = Counter(receiver)
        await receiving.send(receiver, deliveries.task_body("a"))
        await receiving.until(lambda: seen)
        await asyncio.to_thread(shift, database, jump)
        await receiving.send(receiver, deliveries.task_body("b"))
        await receiving.until(lambda: len(seen) == 4, seconds=4)
        await receiver.idle()
        await asyncio.to_thread(shift, database, jump)
        statements.start_over()
        await asyncio.sleep(2)
        statements.assert_calm()

    assert sorted(seen) == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]


@pytest.mark.parametrize("jump", JUMPS)
async def test_stored_times_that_jump_between_a_death_and_the_next_start(
    database: databases.TestDatabase, jump: int
) -> None:
    # given a task that waits for its second attempt, and one that a worker held when it died
    seen: list[tuple[str | None, int]] = []
    receiver = receiver_of(database, failing_once(seen))
    async with receiver.lifespan():
        await receiving.send(receiver, deliveries.task_body("waits"))
        await receiving.until(lambda: database.query("SELECT id FROM webhook_handler_runs"))
    async with inboxes.opened(database.url) as inbox:
        held = await inboxes.record(inbox, deliveries.task_body("held"))
        await inboxes.claim_as(inbox, "dead", held.record_id, lease=LEASE)
    # when the clock jumps before the next start
    await asyncio.to_thread(shift, database, jump)
    async with receiver.lifespan():
        statements = Counter(receiver)
        # then both are handled as soon as ever
        await receiving.until(lambda: len(seen) == 4, seconds=LEASE + WAIT + 1.5)
        statements.assert_calm(attempts=4)
        # and the engine is idle again
        await receiver.idle()
        statements.start_over()
        await asyncio.sleep(2)
        statements.assert_calm()

    assert sorted(seen) == [("held", 1), ("held", 2), ("waits", 1), ("waits", 2)]
