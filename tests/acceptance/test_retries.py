"""What fails is tried again, by itself and only that, with a real `serve` process, on both databases."""

from __future__ import annotations

import contextlib
import json
import signal
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
import os, time
from morag_client import Context, Discard, Event, Receiver, RetryLater, RetryPolicy, on

RELEASE = os.environ.get("RELEASE", "1")

def note(handler, event, context):
    fd = os.open("notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{handler} {event.task_id} {context.attempt} {time.time()}\\n".encode())
    os.close(fd)

@on("task.started", name="steady")
async def steady(event: Event, context: Context):
    note("steady", event, context)

@on("task.started", name="flaky")
def flaky(event: Event, context: Context):
    note("flaky", event, context)
    if event.task_id == "flaky" and context.attempt < 3:
        raise ConnectionError("nobody there")
    if event.task_id == "hopeless":
        raise ConnectionError("x" * 100_000)
    if event.task_id == "pointless":
        raise Discard("nothing to index")

@on("task.completed", name="later")
async def later(event: Event, context: Context):
    note("later", event, context)
    if context.attempt == 1:
        raise RetryLater(after=float(os.environ["AFTER"]))

if RELEASE != "2":
    @on("task.failed", name="former", retry=RetryPolicy(attempts=1000, first=0.2, cap=0.2))
    async def former(event: Event, context: Context):
        note("former", event, context)
        if RELEASE == "1":
            raise ConnectionError("nobody there")

@on("task.progress", name="hangs", timeout=0.3)
def hang(event: Event, context: Context):
    note("hangs", event, context)
    while not os.path.exists("let_go"):
        time.sleep(0.01)

receiver = Receiver(insecure=True, retry=RetryPolicy(attempts=3, first=0.2, cap=0.2))
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


def post(served: commands.Served, task_id: str, status: str = "started") -> None:
    answer = servers.exchange(served.url, servers.request_bytes(deliveries.task_body(task_id, status)))
    assert answer is not None
    assert answer.status == 200


def notes(folder: Path, *, of: str) -> list[tuple[str, int, float]]:
    """Handler, attempt and time of what a task's handlers were called for."""
    path = folder / "notes"
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [(handler, int(attempt), float(at)) for handler, task, attempt, at in lines if task == of]


def attempts(folder: Path, *, of: str) -> list[tuple[str, int]]:
    return sorted((handler, attempt) for handler, attempt, _ in notes(folder, of=of))


def states(database: databases.TestDatabase) -> dict[str, str]:
    """What became of each task's record."""
    return dict(database.query("SELECT task_id, state FROM webhook_events"))


def ends(database: databases.TestDatabase) -> set[str]:
    """The states that records are in."""
    return {state for (state,) in database.query("SELECT state FROM webhook_events")}


def run_of(database: databases.TestDatabase, task: str, handler: str) -> dict[str, Any]:
    columns = ("state", "attempts", "error", "traceback", "next_attempt_at", "scheduled_at")
    [row] = database.query(
        f"SELECT run.{', run.'.join(columns)} FROM webhook_handler_runs AS run JOIN webhook_events AS event"  # noqa: S608
        f" ON event.id = run.record_id WHERE event.task_id = '{task}' AND run.handler = '{handler}'"
    )
    return dict(zip(columns, row, strict=True))


def listed(folder: Path, database: databases.TestDatabase) -> dict[str, Any]:
    """What `morag-client events` says of each task's record."""
    told = commands.run(folder, "events", "--json", "--database-url", database.url)
    assert told.returncode == 0, told.stderr
    return {event["task_id"]: event for event in map(json.loads, told.stdout.splitlines())}


def test_only_what_failed_is_tried_again_until_it_succeeds_gives_up_or_is_discarded(
    folder: Path, database: databases.TestDatabase
) -> None:
    with serving(folder, database) as served:
        for task in ("flaky", "hopeless", "pointless"):
            post(served, task)
        ends = {"flaky": "handled", "hopeless": "failed", "pointless": "handled"}
        receiving.eventually(lambda: states(database) == ends)
        assert served.stop() == 0

    # the one that succeeded was not called again, the other as often as it takes
    assert attempts(folder, of="flaky") == [("flaky", 1), ("flaky", 2), ("flaky", 3), ("steady", 1)]
    assert attempts(folder, of="hopeless") == [("flaky", 1), ("flaky", 2), ("flaky", 3), ("steady", 1)]
    assert attempts(folder, of="pointless") == [("flaky", 1), ("steady", 1)]
    recovered, given_up = run_of(database, "flaky", "flaky"), run_of(database, "hopeless", "flaky")
    assert recovered == {**dict.fromkeys(recovered), "state": "succeeded", "attempts": 3}
    assert (given_up["state"], given_up["attempts"], given_up["next_attempt_at"]) == ("failed", 3, None)
    discarded = run_of(database, "pointless", "flaky")
    assert (discarded["state"], discarded["attempts"]) == ("discarded", 1)
    assert discarded["error"] == "Discard: nothing to index"
    # and of the error there is enough to find it, and not all of what it says
    assert given_up["error"].startswith("ConnectionError: xxx")
    assert "in flaky" in given_up["traceback"]
    assert len(given_up["error"]) < 1100
    assert len(given_up["traceback"]) < 8100


def test_what_waits_for_its_next_attempt_waits_on_over_a_kill_and_a_restart(
    folder: Path, database: databases.TestDatabase
) -> None:
    # given a handler that wants to be called again in four seconds
    with serving(folder, database, AFTER="4") as served:
        post(served, "a", "completed")
        receiving.eventually(lambda: states(database) == {"a": "retrying"})
        waiting = run_of(database, "a", "later")
        assert (waiting["state"], waiting["attempts"]) == ("retrying", 1)
        assert waiting["error"] == "RetryLater: to be tried again after 4 seconds"
        assert waiting["next_attempt_at"] - waiting["scheduled_at"] == pytest.approx(4, abs=0.01)
        # when later events of its task come, they do not wait for it
        post(served, "a", "started")
        receiving.eventually(lambda: ("steady", 1) in attempts(folder, of="a"))
        served.stop(signal.SIGKILL)

    # then it is called when its time has come, in the next process, and not before
    with serving(folder, database, AFTER="4") as served:
        receiving.eventually(lambda: ends(database) == {"handled"})
        assert served.stop() == 0
    (_, first, _), (_, second, again) = (one for one in notes(folder, of="a") if one[0] == "later")
    assert (first, second) == (1, 2)
    assert waiting["next_attempt_at"] - 0.05 < again < waiting["next_attempt_at"] + 3
    assert run_of(database, "a", "later")["state"] == "succeeded"


def test_a_run_whose_handler_is_gone_is_an_orphan_until_its_return(
    folder: Path, database: databases.TestDatabase
) -> None:
    with serving(folder, database) as served:
        post(served, "a", "failed")
        receiving.eventually(lambda: states(database) == {"a": "retrying"})
        served.stop(signal.SIGKILL)
    tried = len(notes(folder, of="a"))

    # given a release without it, in which it becomes due
    with serving(folder, database, RELEASE="2") as served:
        post(served, "b", "started")
        receiving.eventually(lambda: run_of(database, "a", "former")["state"] == "orphaned")
        receiving.eventually(lambda: states(database) == {"a": "retrying", "b": "handled"})
        assert served.stop() == 0
        assert served.output.count("there is no handler former here") == 1
    [run] = listed(folder, database)["a"]["runs"]
    assert (run["handler"], run["state"], run["next_attempt_at"]) == ("former", "orphaned", None)
    assert run["error"] == "ConnectionError: nobody there"
    where = ("--database-url", database.url)
    task, counts, orphans = (
        commands.run(folder, *command, *where)
        for command in (["tasks", "a"], ["stats"], ["dead-letters", "list", "--orphans", "--json"])
    )
    assert "former: orphaned, no worker has this handler" in " ".join(task.stdout.split())
    assert "(orphaned): 1" in counts.stdout
    assert [json.loads(line)["handler"] for line in orphans.stdout.splitlines()] == ["former"]

    # when it is there again
    with serving(folder, database, RELEASE="3") as served:
        receiving.eventually(lambda: states(database) == {"a": "handled", "b": "handled"})
        assert served.stop() == 0
    assert [one[:2] for one in notes(folder, of="a")[tried:]] == [("former", run["attempts"] + 1)]


def test_of_two_releases_side_by_side_the_one_with_the_handler_tries_again(
    folder: Path, database: databases.TestDatabase
) -> None:
    tasks = [f"task-{number}" for number in range(5)]
    with serving(folder, database) as old:
        for task in tasks:
            post(old, task, "failed")
        receiving.eventually(lambda: all(attempts(folder, of=task) for task in tasks))
        # given a release without the handler, which finds what is due as often as the one that has it
        with serving(folder, database, RELEASE="2") as new:
            receiving.eventually(lambda: "there is no handler former here" in new.output, seconds=30)
            tried = {task: len(attempts(folder, of=task)) for task in tasks}
            receiving.eventually(lambda: all(len(attempts(folder, of=task)) > tried[task] + 2 for task in tasks))
            assert (old.stop(), new.stop()) == (0, 0)
    # when only that one is left, and then another one that has it
    with serving(folder, database, RELEASE="2") as served:
        receiving.eventually(lambda: database.query(_ORPHANS) == [(5,)])
        looked = len(served.output)
        time.sleep(2.5)
        assert served.output[looked:] == ""
        with serving(folder, database, RELEASE="3") as both:
            receiving.eventually(lambda: ends(database) == {"handled"})
            assert (both.stop(), served.stop()) == (0, 0)
    assert {run_of(database, task, "former")["state"] for task in tasks} == {"succeeded"}


_ORPHANS = "SELECT count(*) FROM webhook_handler_runs WHERE state = 'orphaned'"


def test_a_plain_handler_that_hangs_holds_up_its_own_task_only(folder: Path, database: databases.TestDatabase) -> None:
    with serving(folder, database) as served:
        post(served, "hung", "progress")
        receiving.eventually(lambda: notes(folder, of="hung"))
        for number in range(30):
            post(served, f"task-{number}")
        post(served, "hung", "started")
        receiving.eventually(lambda: list(states(database).values()).count("handled") == 30)
        receiving.eventually(lambda: database.query("SELECT 1 FROM webhook_handler_runs WHERE state = 'stuck'"))
        assert run_of(database, "hung", "hangs")["attempts"] == 1
        assert attempts(folder, of="hung") == [("hangs", 1)]
        (folder / "let_go").touch()
        receiving.eventually(lambda: ends(database) == {"handled"})
        assert served.stop() == 0
    assert attempts(folder, of="hung") == [("flaky", 1), ("hangs", 1), ("steady", 1)]


def test_what_was_stuck_when_its_process_was_killed_runs_once_at_a_time_in_the_next(
    folder: Path, database: databases.TestDatabase
) -> None:
    # given a record that waits and has a run that is due, so that there are two ways to find it
    with serving(folder, database) as served:
        post(served, "hung", "progress")
        receiving.eventually(lambda: database.query("SELECT 1 FROM webhook_handler_runs WHERE state = 'stuck'"))
        served.stop(signal.SIGKILL)
    assert ends(database) == {"stored"}

    with serving(folder, database) as served:
        receiving.eventually(lambda: len(notes(folder, of="hung")) > 1)
        time.sleep(0.5)
        (folder / "let_go").touch()
        receiving.eventually(lambda: ends(database) == {"handled"})
        assert served.stop() == 0
    assert attempts(folder, of="hung") == [("hangs", 1), ("hangs", 2)]
