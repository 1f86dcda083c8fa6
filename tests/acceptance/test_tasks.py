"""`morag-client tasks`: the tasks that events told of, by a process of its own, on every database."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import commands
import databases
import deliveries
import inboxes
import pytest
import receiving

from morag_client import Event, Receiver, Registry, RetryLater, RetryPolicy

MORNING = datetime(2026, 1, 1, 6, tzinfo=UTC)
LONG_ID = "c76abf43-6fa8-4dca-ac0a-e4e2f729b4c5"
ERROR = "no memory\x1b[31m is left for the graph of this document, which is larger than all that were seen before it"

Run = Callable[..., subprocess.CompletedProcess[str]]


def at(seconds: float) -> str:
    return (MORNING + timedelta(seconds=seconds)).isoformat()


def registry() -> Registry:
    registry = Registry()
    registry.on("*", name="index")(lambda event: None)

    @registry.on("chunking.completed", name="notify")
    def notify(event: Event) -> None:
        raise ValueError("nobody is there")

    @registry.on("task.failed", name="mail")
    def mail(event: Event) -> None:
        raise RetryLater(300)

    return registry


def bodies() -> list[bytes]:
    """A task that completes, one that fails after a late event, and one that goes on."""
    step, task = deliveries.step_body, deliveries.task_body
    ended = {"task_id": "good", "status": "completed"}
    return [
        step("good", "chunking", "started", timestamp=at(0), document_id="doc-1", progress_percent=10.0),
        step("good", "chunking", "completed", timestamp=at(2.5), document_id="doc-1", progress_percent=50.0),
        step("good", "ingestion", "completed", timestamp=at(90), document_id="doc-1", progress_percent=90.0),
        deliveries.as_body({"event_type": "task_completed", "timestamp": at(100), "data": ended}),
        step(LONG_ID, "ingestion", "started", timestamp=at(1), document_id="doc-2", progress_percent=70.0),
        task(LONG_ID, "started"),
        task(LONG_ID, "failed", error=ERROR, error_details={"error_code": "E42"}),
        step("on", "graph_extraction", "started", timestamp=at(0), document_id="doc-1", progress_percent=60.0),
    ]


@pytest.fixture
async def run(database: databases.TestDatabase, tmp_path: Path) -> Run:
    """The command on an inbox in which all this was received and handled."""
    policy = RetryPolicy(attempts=2, first=0, cap=0)
    receiver = Receiver(registry=registry(), secrets=deliveries.SECRET, database_url=database.url, retry=policy)
    async with receiver.lifespan():
        await receiving.send(receiver, *bodies())
        await receiver.idle()
        tried = "SELECT count(*) FROM webhook_handler_runs WHERE handler = 'notify' AND state = 'failed'"
        await receiving.until(lambda: database.query(tried) == [(1,)])

    def tasks(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        done = commands.run(tmp_path, "tasks", *arguments, "--database-url", database.url, **variables)
        assert "Traceback" not in done.stderr
        return done

    return tasks


def listed(run: Run, *arguments: str) -> list[dict[str, Any]]:
    done = run("--json", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_tasks_are_listed_by_state_document_and_limit(run: Run) -> None:
    tasks = listed(run)

    assert [(task["task_id"], task["state"], task["progress"]) for task in tasks] == [
        ("on", "running", 60.0),
        (LONG_ID, "failed", 70.0),
        ("good", "completed", 100.0),
    ]
    good = tasks[2]
    assert (good["document_id"], good["seconds"], good["sequence"], good["late"]) == ("doc-1", 100.0, 4, 0)
    assert good["steps"]["chunking"].items() >= {"status": "completed", "seconds": 2.5}.items()
    assert good["steps"]["ingestion"]["seconds"] is None
    for arguments, wanted in (
        (["--state", "failed"], [LONG_ID]),
        (["--document", "doc-1"], ["on", "good"]),
        (["--document", "doc-1", "--state", "completed"], ["good"]),
        (["--limit", "1"], ["on"]),
        (["--tenant", ""], ["on", LONG_ID, "good"]),
        (["--tenant", "north"], []),
    ):
        assert [task["task_id"] for task in listed(run, *arguments)] == wanted


@pytest.mark.parametrize("width", [80, 100])
def test_the_list_fits_a_terminal_with_its_ids_whole(run: Run, width: int) -> None:
    done = run(COLUMNS=str(width))

    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert max(map(len, lines)) <= width
    assert sum(line.startswith(LONG_ID) for line in lines) == 1
    said = " ".join(done.stdout.split())
    for words in ("running, 60 %", "at graph_extraction", "failed, 70 %", "at ingestion", "took 1 min 40 s", "doc-1"):
        assert words in said
    assert "\x1b" not in done.stdout


def test_one_task_with_its_steps_its_events_and_their_runs(run: Run) -> None:
    [task] = listed(run, "good")

    assert (task["state"], task["seconds"], task["finished_at"]) == ("completed", 100.0, at(100).replace("+00:00", "Z"))
    assert [(event["sequence"], event["name"], event["is_late"]) for event in task["events"]] == [
        (1, "chunking.started", False),
        (2, "chunking.completed", False),
        (3, "ingestion.completed", False),
        (4, "task.completed", False),
    ]
    runs = {run["handler"]: (run["state"], run["attempts"], run["error"]) for run in task["events"][1]["runs"]}
    assert runs == {"index": ("succeeded", 1, None), "notify": ("failed", 2, "ValueError: nobody is there")}

    done = run("good", COLUMNS="100")

    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert {"Task good", "Document doc-1", "State completed, 100 %, at ingestion"} <= set(lines)
    [took] = [line for line in lines if line.startswith("Finished")]
    assert took.endswith("(took 1 min 40 s)")
    [chunking] = [line for line in lines if line.startswith("chunking completed")]
    assert chunking.endswith("2.50 s")
    said = " ".join(lines)
    assert "notify: failed, attempt 2 (ValueError: nobody is there)" in said


def test_one_that_failed_says_why_what_was_late_and_what_is_tried_again(run: Run) -> None:
    said = " ".join(run(LONG_ID, COLUMNS="200").stdout.split())

    for words in ("State failed, 70 %, at ingestion", "seen before it (E42)", "Events 3, 1 of them came late"):
        assert words in said
    assert "2 late" in said
    assert "mail: retrying, again at " in said
    [failed] = [event for event in listed(run, LONG_ID)[0]["events"] if event["name"] == "task.failed"]
    again = {run["handler"]: run["next_attempt_at"] for run in failed["runs"]}
    assert again["index"] is None
    assert datetime.fromisoformat(again["mail"]) > datetime.now(UTC)


def test_the_first_events_and_a_word_on_the_others(run: Run) -> None:
    [task] = listed(run, "good", "--limit", "2")
    done = run("good", "--limit", "2")

    assert [event["name"] for event in task["events"]] == ["chunking.started", "chunking.completed"]
    assert "task.completed" not in done.stdout
    assert "its first 2 events; --limit shows more" in done.stdout
    assert "--limit" not in run("good", "--limit", "4").stdout


async def test_the_tasks_of_a_tenant_are_its_own(run: Run, database: databases.TestDatabase) -> None:
    async with inboxes.opened(database.url) as inbox:
        theirs = await inboxes.record(inbox, deliveries.task_body("good"), tenant="north")
        await inboxes.claim_as(inbox, "ann", theirs.record_id)

    [task] = listed(run, "good", "--tenant", "north")
    assert [event["id"] for event in task["events"]] == [theirs.record_id]
    assert [task["tenant"] for task in listed(run, "--document", "doc-1")] == ["", ""]
    assert [task["task_id"] for task in listed(run, "--tenant", "north")] == ["good"]
    assert "Tenant north" in " ".join(run("good", "--tenant", "north").stdout.split())
    assert "of north" in [line.strip() for line in run("--tenant", "north").stdout.splitlines()]
    done = run("good", "--tenant", "south")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no task 'good' of tenant 'south'" in done.stderr


def test_an_unknown_task_is_exit_code_one_and_says_nothing_unprintable(run: Run) -> None:
    done = run("\x1b[31mred")

    assert (done.returncode, done.stdout) == (1, "")
    assert "no task" in done.stderr
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--state", "handled"], "pending, running, completed, cancelled, failed or lost"),
        (["--limit", "0"], "--limit"),
        (["good", "--state", "failed"], "leave them out"),
        (["--database-url", "sqlite:///elsewhere.db"], "there is no inbox at"),
    ],
)
def test_bad_usage_is_exit_code_two(tmp_path: Path, arguments: list[str], says: str) -> None:
    done = commands.run(tmp_path, "tasks", *arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert says in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
