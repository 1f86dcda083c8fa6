"""`morag-client prune` beside a real receiver: what is old goes, and nobody who delivers notices."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import commands
import databases
import deliveries
import inboxes
import pytest
import receiving
import servers
from senders import Answer, Sender, senders

from morag_client import Registry
from morag_client.errors import ConfigurationError, DeliveryRejected
from morag_client.inbox.inbox import Inbox
from morag_client.inbox.retention import Pruned
from morag_client.inbox.rows import now

LONG_AGO = timedelta(days=40)
MANY = 20_000

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path, database: databases.TestDatabase) -> Run:
    def prune(*arguments: str) -> subprocess.CompletedProcess[str]:
        done = commands.run(tmp_path, "prune", *arguments, "--database-url", database.url, COLUMNS="100")
        assert "Traceback" not in done.stderr
        return done

    return prune


async def fill(inbox: Inbox, *bodies: bytes, state: str = "handled", ago: timedelta = LONG_AGO) -> None:
    """Records in a state that came so long ago."""
    moment = now() - ago
    await asyncio.gather(
        *(
            inbox.record(
                inboxes.arrival(body)._replace(received_at=moment),
                inboxes.row(body)._replace(received_at=moment, state=state),
            )
            for body in bodies
        )
    )


@pytest.fixture
async def bodies(database: databases.TestDatabase) -> list[bytes]:
    """Those of an inbox with an old record that was handled, one that failed, one that waits, and a new one."""
    made = [deliveries.task_body(task) for task in ("handled", "failed", "stored", "new")]
    async with inboxes.opened(database.url) as inbox:
        for body, state in zip(made, ("handled", "failed", "stored"), strict=False):
            await fill(inbox, body, state=state)
        await fill(inbox, made[3], ago=timedelta(0))
        await inbox.quarantine(inboxes.arrival(b"[]")._replace(received_at=now() - LONG_AGO), DeliveryRejected("x"))
    return made


def kept(database: databases.TestDatabase) -> list[str]:
    return [task for (task,) in database.query("SELECT task_id FROM webhook_events WHERE body IS NOT NULL ORDER BY id")]


def test_it_says_what_it_would_do_and_then_does_it(
    tmp_path: Path, database: databases.TestDatabase, bodies: list[bytes], run: Run
) -> None:
    dry = run("--older-than", "30d", "--keep-failures", "--dry-run")
    assert len(kept(database)) == 4
    first = run("--older-than", "30d", "--keep-failures", "--yes", "--why", "a test")
    assert kept(database) == ["failed", "stored", "new"]
    second = run("--older-than", "4w", "--quarantine", "--yes", "--json")
    third = run("--older-than", "30d", "--yes")

    assert {done.returncode for done in (dry, first, second, third)} == {0}
    amount = f"1 record ({len(bodies[0])} bytes of bodies)"
    assert (dry.stdout, first.stdout) == (f"would prune {amount}\n", f"pruned {amount}\n")
    assert json.loads(second.stdout).items() >= {"records": 1, "quarantined": 1, "dry_run": False}.items()
    assert third.stdout == "pruned 0 records (0 bytes of bodies)\n"
    assert kept(database) == ["stored", "new"]
    audited = database.query("SELECT action, why, affected FROM webhook_audit ORDER BY id")
    assert audited == [("prune", "a test", 1), ("prune", None, 1), ("quarantine prune", None, 1)]
    # and what comes again is known, and cannot be handled again
    with commands.served(tmp_path, "--database-url", database.url) as served:
        request = servers.request_bytes(bodies[0], servers.signed(bodies[0]))
        assert servers.exchange(served.url, request).json["status"] == "duplicate"
        assert served.stop() == 0
    replayed = commands.run(tmp_path, "replay", "1", "--json", "--database-url", database.url)
    assert "prune" in replayed.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--older-than"),
        (["--older-than", "30"], "no age"),
        (["--older-than", "-30d"], "no age"),
        (["--older-than", "900000d", "--yes"], "calendar"),
        (["--older-than", "30d"], "--yes"),
    ],
)
def test_bad_usage_is_exit_code_two_and_prunes_nothing(
    database: databases.TestDatabase, bodies: list[bytes], run: Run, arguments: list[str], says: str
) -> None:
    done = run(*arguments)

    assert done.returncode == 2
    assert says in done.stderr
    assert len(kept(database)) == 4


@pytest.mark.parametrize(("answer", "left"), [(b"y\n", 2), (b"n\n", 4), (b"\n", 4)])
def test_at_a_terminal_it_asks(
    tmp_path: Path, database: databases.TestDatabase, bodies: list[bytes], answer: bytes, left: int
) -> None:
    ours, theirs = pty.openpty()
    try:
        os.write(ours, answer)
        done = subprocess.run(
            [commands.COMMAND, "prune", "--older-than", "30d", "--database-url", database.url],
            cwd=tmp_path,
            env=commands.environment(secret=None),
            stdin=theirs,
            capture_output=True,
            timeout=30,
            check=False,
        )
    finally:
        os.close(ours)
        os.close(theirs)

    assert b"Prune 2 records (" in done.stderr
    assert (len(kept(database)), done.returncode) == (left, 0 if left == 2 else 1)


async def test_a_vacuum_makes_a_file_smaller_and_warns_of_what_it_locks(
    tmp_path: Path, database: databases.TestDatabase, run: Run
) -> None:
    async with inboxes.opened(database.url) as inbox:
        await fill(inbox, *(deliveries.task_body("a", note="x" * 50_000) for _ in range(60)))

    with commands.served(tmp_path, "--database-url", database.url) as served:
        done = run("--older-than", "30d", "--yes", "--vacuum")
        for body in (deliveries.task_body("a"), deliveries.task_body("b")):  # the receiver has not noticed
            request = servers.request_bytes(body, servers.signed(body))
            assert servers.exchange(served.url, request).json["status"] == "received"
        assert served.stop() == 0

    assert done.returncode == 0
    assert len(kept(database)) == 2
    if database.path is None:
        assert (done.stderr, "stay as large" in done.stdout) == ("", True)
    else:
        assert "503" in done.stderr
        assert database.path.stat().st_size < 500_000
        assert json.loads(run("--older-than", "30d", "--yes", "--vacuum", "--json").stdout)["file_bytes_after"] > 0


async def test_a_receiver_prunes_too(tmp_path: Path) -> None:
    async with receiving.working(tmp_path, Registry()) as receiver:
        await receiving.send(receiver, deliveries.task_body("a"))
        assert await receiver.prune(timedelta(0)) == Pruned()  # it waits for handlers
        with pytest.raises(ConfigurationError, match="older_than="):
            await receiver.prune(timedelta(days=-1))
    registry = Registry()
    registry.on("*", name="note")(lambda event: None)
    async with receiving.working(tmp_path, registry) as receiver:
        await receiver.idle()
        assert (await receiver.prune(timedelta(0), why="a test")).records == 1
        assert (await receiver.events.get(1)).body is None


async def test_killed_at_any_moment_it_goes_on_the_next_time(
    tmp_path: Path, database: databases.TestDatabase, run: Run
) -> None:
    async with inboxes.opened(database.url, commit_timeout=30.0) as inbox:
        await fill(inbox, *(deliveries.task_body("old") for _ in range(4_000)))

    left = [4_000]
    for _ in range(3):
        with commands.killed(
            tmp_path, "prune", "--older-than", "30d", "--yes", "--database-url", database.url
        ) as is_running:
            receiving.eventually(lambda: not is_running() or len(kept(database)) < left[-1], seconds=20)
        left.append(len(kept(database)))
    done = run("--older-than", "30d", "--yes")

    assert 4_000 > left[1] > 0
    assert done.stdout.startswith(f"pruned {left[3]:,} records")
    assert kept(database) == []
    assert database.query("SELECT sum(affected) FROM webhook_audit") == [(4_000,)]


class Load:
    """Deliveries one after the other from each of some connections, until it is enough."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.over = False

    async def send(self, sender: Sender) -> None:
        while not self.over:
            self.answers.append(await sender.post(deliveries.step_body("new")))


@pytest.mark.timeout(120)
async def test_deliveries_are_taken_all_the_while(tmp_path: Path, database: databases.TestDatabase) -> None:
    async with inboxes.opened(database.url, commit_timeout=30.0) as inbox:
        some = [deliveries.task_body("old", note="x" * 2_000) for _ in range(MANY)]
        for start in range(0, MANY, 4_000):
            await fill(inbox, *some[start : start + 4_000])

    with commands.served(tmp_path, "--no-access-log", "--database-url", database.url) as served:
        async with senders(served.url, each=8) as everybody:
            load = Load()
            async with asyncio.TaskGroup() as group:
                for sender in everybody:
                    group.create_task(load.send(sender))
                await receiving.until(lambda: len(load.answers) > 100)
                arguments = ("prune", "--older-than", "30d", "--yes", "--json", "--database-url", database.url)
                try:
                    done = await asyncio.to_thread(commands.run, tmp_path, *arguments)
                finally:
                    load.over = True
        assert served.stop() == 0

    assert (done.returncode, json.loads(done.stdout)["records"]) == (0, MANY)
    assert {answer.status for answer in load.answers} == {200}
    slowest = sorted(answer.seconds for answer in load.answers)
    print(f"{len(slowest)} deliveries, p50 {slowest[len(slowest) // 2]:.3f} s, slowest {slowest[-1]:.3f} s")
    assert slowest[-1] < 2.0
    counted: list[tuple[Any, ...]] = database.query("SELECT count(*), count(body) FROM webhook_events")
    assert counted == [(MANY + len(load.answers), len(load.answers))]
