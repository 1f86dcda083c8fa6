"""`morag-client stats`: what was received, counted by a process of its own, on every database."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import commands
import databases
import deliveries
import pytest
import receiving

from morag_client import Event, InvalidPayload, MalformedBody, Receiver, Registry, RetryLater, RetryPolicy, Statistics

MORNING = datetime(2026, 1, 1, 6, tzinfo=UTC)
TASKS = 20

Run = Callable[..., subprocess.CompletedProcess[str]]


def registry() -> Registry:
    registry = Registry()

    @registry.on("task.*", name="index")
    def index(event: Event) -> None:
        if event.name == "task.progress":
            raise RetryLater(300)
        if event.name == "task.failed":
            raise ValueError(f"nobody is there for {event.task_id}")

    return registry


def bodies() -> list[bytes]:
    """Tasks whose steps take 1, 2, 3, … seconds: three fail, two go on, the others complete."""
    sent: list[bytes] = []
    for number in range(TASKS):
        task_id = f"task-{number}"
        for status, later in (("started", 0), ("completed", number + 1)):
            time = (MORNING + timedelta(seconds=later)).isoformat()
            sent.append(deliveries.step_body(task_id, "chunking", status, timestamp=time))
        end = "failed" if number < 3 else "progress" if number == 3 else "completed"
        if number < TASKS - 1:
            sent.append(deliveries.task_body(task_id, end))
    return sent


@pytest.fixture
async def told(database: databases.TestDatabase) -> Statistics:
    """What the receiver itself says, after all this, a repetition and a body that is no event."""
    policy = RetryPolicy(attempts=2, first=0, cap=0)
    receiver = Receiver(registry=registry(), secrets=deliveries.SECRET, database_url=database.url, retry=policy)
    async with receiver.lifespan():
        sent = bodies()
        await receiving.send(receiver, *sent, sent[0])
        for wrong in (b"{", deliveries.as_body({"event_type": "task_started", "timestamp": "now", "data": {}})):
            with contextlib.suppress(MalformedBody, InvalidPayload):
                await receiver.receive(deliveries.delivery(wrong))
        dead = "SELECT count(*) FROM webhook_handler_runs WHERE state = 'failed'"
        await receiving.until(lambda: database.query(dead) == [(3,)])
        await receiver.idle()
    # What no receiver with handlers has looked at yet.
    plain = Receiver(registry=Registry(), secrets=deliveries.SECRET, database_url=database.url)
    async with plain.lifespan():
        await receiving.send(plain, deliveries.task_body("new"))
        return await plain.stats()


@pytest.fixture
def run(database: databases.TestDatabase, tmp_path: Path) -> Run:
    def stats(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        done = commands.run(tmp_path, "stats", *arguments, "--database-url", database.url, **variables)
        assert (done.returncode, done.stderr) == (0, "")
        return done

    return stats


def test_all_is_counted_as_it_is(told: Statistics, run: Run) -> None:
    counted = json.loads(run("--json").stdout)

    # 2 events of each task, a third of all but one, and one that waits
    assert counted.items() >= {"total_received": 60, "waiting": 1, "quarantined": 2}.items()
    assert counted.items() >= {"failed": 3, "dead_letters": 3, "retrying": 1, "successful": 55}.items()
    assert counted["success_rate"] == pytest.approx(55 / 58)
    assert counted["tasks"] == {"completed": 15, "failed": 3, "running": 2}
    assert counted["task_success_rate"] == pytest.approx(15 / 18)
    # of 1 to 20 seconds, what 50, 90 and 99 % did not exceed
    assert counted["steps"] == {"chunking": {"count": TASKS, "p50": 10.0, "p90": 18.0, "p99": 20.0}}
    assert counted["last_error"]["handler"] == "index"
    said = {key: value for key, value in asdict(told).items() if key != "last_error"}
    assert {key: counted[key] for key in said} == said


@pytest.mark.parametrize("width", [80, 100])
def test_a_terminal_shows_it_and_says_what_is_exact(told: Statistics, run: Run, width: int) -> None:
    done = run(COLUMNS=str(width))

    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert max(map(len, done.stdout.splitlines())) <= width
    assert lines[:7] == [
        "Events, all that are stored",
        "received 60",
        "handled 55 94.8 % of those that are through",
        "failed 3 dead letters: 3",
        "retrying 1",
        "waiting 1",
        "quarantined 2 not among those received",
    ]
    tasks = lines.index("Tasks, all that are known")
    ended = "completed 15 83.3 % of those that have ended"
    assert lines[tasks + 1 : tasks + 4] == [ended, "failed 3", "running 2"]
    assert "chunking 20 10.0 s 18.0 s 20.0 s" in lines
    assert any(line.startswith("Last error: ") and ", index, event " in line for line in lines)


def test_of_more_tasks_than_are_looked_at_it_says_so(
    database: databases.TestDatabase, told: Statistics, run: Run
) -> None:
    key = "zeroblob(12) || n" if database.path else "convert_to(n::text, 'UTF8')"
    database.execute(
        'INSERT INTO webhook_tasks ("key", tenant, task_id, record_id, epoch, sequence, state, first_record_id)'  # noqa: S608
        " WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 10000)"
        f" SELECT {key}, '', 'more-' || n, 1, 1, 1, 'lost', 1000 + n FROM numbers"
    )

    lines = [" ".join(line.split()) for line in run().stdout.splitlines()]

    assert "Tasks, the newest 10,000" in lines
    assert "lost 10,000" in lines
    assert "completed 0 0.0 % of those that have ended" in lines


def test_an_empty_inbox_has_no_rates(database: databases.TestDatabase, tmp_path: Path, run: Run) -> None:
    assert commands.run(tmp_path, "db", "upgrade", "--database-url", database.url).returncode == 0

    lines = run().stdout.splitlines()

    assert "%" not in "".join(lines)
    assert [line.split() for line in lines if "received" in line] == [["received", "0"]]
    assert json.loads(run("--json").stdout)["success_rate"] is None


def test_no_inbox_is_bad_usage(tmp_path: Path) -> None:
    done = commands.run(tmp_path, "stats", "--database-url", "sqlite:///elsewhere.db")

    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no inbox at" in done.stderr
