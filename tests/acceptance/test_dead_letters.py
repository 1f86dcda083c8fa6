"""`morag-client dead-letters`: what gave up in a running receiver, looked at, tried again and given up."""

from __future__ import annotations

import getpass
import json
import subprocess
from pathlib import Path
from typing import Any

import commands
import databases
import deliveries
import inboxes
import pytest
import receiving
import servers
import terminals
from workers import run, settled

from morag_client import Event, Registry

MODULE = """
import pathlib
from morag_client import Context, Event, Receiver, RetryPolicy, on

@on("task.*", name="notify", retry=RetryPolicy(attempts=2, first=0.01))
def notify(event: Event, context: Context) -> None:
    if not pathlib.Path("fixed").exists():
        raise ValueError("nobody is there\\x1b[31m")
    with open("notified.txt", "a") as file:
        file.write(f"{event.task_id} attempt {context.attempt}\\n")

@on("*", name="index")
async def index(event: Event) -> None:
    pass

receiver = Receiver()
"""


class Cli:
    """The command, on one database."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self._url = url

    def __call__(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        done = commands.run(self.folder, "dead-letters", *arguments, "--database-url", self._url, **variables)
        assert "Traceback" not in done.stderr
        return done

    def json(self, *arguments: str) -> list[dict[str, Any]]:
        done = self(*arguments, "--json")
        assert (done.returncode, done.stderr) == (0, "")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def typed(self, answer: str, *arguments: str) -> terminals.Done:
        return terminals.run(self.folder, "dead-letters", *arguments, "--database-url", self._url, typed=answer)


async def test_orphans_are_named_as_such_and_given_up(database: databases.TestDatabase, tmp_path: Path) -> None:
    async with inboxes.opened(database.url) as inbox:
        for task in ("a", "b", "c"):
            await inboxes.record(inbox, deliveries.task_body(task))
        for number in (1, 2):
            await settled(inbox, number, "as_runs", run("former", "orphaned"))
        await settled(inbox, 3, "as_runs", run("index", "failed"))
    cli = Cli(tmp_path, database.url)

    assert [letter["task_id"] for letter in cli.json("list", "--orphans")] == ["b", "a"]
    assert [letter["task_id"] for letter in cli.json("list")] == ["c"]
    assert "a handler former; no worker has had one" in cli("show", "1").stdout
    assert cli("retry", "--orphans").returncode == 2
    assert cli("retry", "--orphans", "--task", "a", "--yes").stdout == "1 orphan to be tried again\n"
    assert cli("discard", "--orphans", "--all", "--yes").stdout == "1 orphan given up\n"
    assert cli("discard", "--orphans", "--all", "--yes").stdout == "0 orphans given up\n"

    assert cli.json("list", "--orphans") == []
    assert states(database) == {1: "retrying", 2: "handled", 3: "failed"}


def test_from_giving_up_to_being_handled(database: databases.TestDatabase, tmp_path: Path) -> None:
    """List and show, repair, retry, and give the rest up, beside the receiver that runs the handlers."""
    (tmp_path / "app.py").write_text(MODULE)
    cli = Cli(tmp_path, database.url)
    with commands.served(tmp_path, "app:receiver", "--database-url", database.url) as served:
        bodies = [deliveries.task_body(f"task-{number}", said="\x1b]0;title\x07") for number in range(3)]
        for body in [*bodies, deliveries.step_body("task-0")]:
            answer = servers.exchange(f"{served.url}/webhook", servers.request_bytes(body, servers.signed(body)))
            assert answer is not None
            assert answer.status == 200
        receiving.eventually(lambda: len(cli.json("list")) == 3)

        letters = {letter["task_id"]: letter for letter in cli.json("list")}
        table = cli("list", COLUMNS="100").stdout
        [shown] = cli.json("show", str(letters["task-1"]["id"]))
        read = cli("show", str(letters["task-1"]["id"])).stdout

        (tmp_path / "fixed").touch()
        assert cli.json("retry", str(letters["task-0"]["id"]), "--why", "repaired") == [{"retried": 1, "pruned": 0}]
        receiving.eventually(lambda: states(database)[letters["task-0"]["record_id"]] == "handled")
        assert cli("discard", "--task", "task-1", "--yes").stdout == "1 dead letter given up\n"
        assert cli("retry", "--all", "--yes").stdout == "1 dead letter to be tried again\n"
        receiving.eventually(lambda: set(states(database).values()) == {"handled"})
        assert served.stop() == 0

    assert set(letters) == {"task-0", "task-1", "task-2"}
    for letter in letters.values():
        assert (letter["handler"], letter["event_name"], letter["attempts"]) == ("notify", "task.started", 2)
        assert letter["error"] == "ValueError: nobody is there\x1b[31m"
        assert "traceback" not in letter
    for word in ("task-0", "task-1", "task-2", "notify", "ValueError"):
        assert word in table
    assert 'raise ValueError("nobody is there' in shown["traceback"]
    assert shown["event"]["payload"] == json.loads(bodies[1])
    for word in (
        "notify",
        "Attempts        2",
        "index: succeeded",
        'raise ValueError("nobody is',
        '"task_id": "task-1"',
    ):
        assert word in read
    assert not {"\x1b", "\x07"} & set(table + read)
    # All attempts again, from the first; what was given up did not run.
    assert (tmp_path / "notified.txt").read_text().splitlines() == ["task-0 attempt 1", "task-2 attempt 1"]
    assert cli.json("list") == []
    audit = database.query("SELECT action, who, why, affected FROM webhook_audit ORDER BY id")
    assert audit == [
        ("dead-letters retry", getpass.getuser(), "repaired", 1),
        ("dead-letters discard", getpass.getuser(), None, 1),
        ("dead-letters retry", getpass.getuser(), None, 1),
    ]


def states(database: databases.TestDatabase) -> dict[int, str]:
    return dict(database.query("SELECT id, state FROM webhook_events"))


@pytest.fixture
async def cli(tmp_path: Path) -> Cli:
    """Three dead letters: 1 of the task failing, 2 and 3 of the task other; the last event is pruned."""
    registry = Registry()

    @registry.on("*", name="notify")
    def notify(event: Event) -> None:
        raise ValueError("nobody is there")

    async with receiving.working(tmp_path, registry) as receiver:
        for body in (deliveries.task_body("failing"), deliveries.step_body("other"), deliveries.task_body("other")):
            await receiving.send(receiver, body)
            await receiver.idle()
    inbox = databases.TestDatabase("sqlite", receiving.url_of(tmp_path), tmp_path / "inbox.db")
    inbox.execute("UPDATE webhook_events SET body = NULL WHERE id = 3")
    return Cli(tmp_path, inbox.url)


def left(cli: Cli) -> list[int]:
    runs = receiving.query(cli.folder, "SELECT id FROM webhook_handler_runs WHERE state = 'failed' ORDER BY id DESC")
    return [run_id for (run_id,) in runs]


def test_some_of_them(cli: Cli) -> None:
    assert [letter["id"] for letter in cli.json("list")] == [3, 2, 1]
    assert [letter["id"] for letter in cli.json("list", "--task", "other", "--limit", "1")] == [3]
    assert [letter["id"] for letter in cli.json("list", "--name", "chunking")] == [2]
    assert cli.json("list", "--handler", "index") == []


def test_an_unknown_id_is_exit_code_one_and_the_others_are_done(cli: Cli) -> None:
    for command, says in (("retry", "1 dead letter to be tried again"), ("discard", "1 dead letter given up")):
        done = cli(command, "99", "1" if command == "retry" else "2", "--yes")
        assert (done.returncode, done.stdout) == (1, f"{says}\n")
        assert done.stderr == "error: there is no dead letter 99\n"
    assert left(cli) == [3]
    done = cli("show", "99")
    assert (done.returncode, done.stderr) == (1, "error: there is no dead letter 99\n")


def test_what_has_no_body_any_more_is_shown_and_cannot_be_tried_again(cli: Cli) -> None:
    assert "no longer kept" in cli("show", "3").stdout

    done = cli("retry", "--task", "other", "--yes")

    assert (done.returncode, done.stdout) == (1, "1 dead letter to be tried again\n")
    assert "1 dead letter of events without a body any more" in done.stderr
    assert left(cli) == [3, 1]


def test_at_a_terminal_it_asks_before_many_and_before_giving_up(cli: Cli) -> None:
    no = cli.typed("n\n", "discard", "1")
    many = cli.typed("n\n", "retry", "--all")

    assert (no.returncode, many.returncode) == (1, 1)
    assert "Give 1 dead letter up for good?" in no.shown
    assert "Try 3 dead letters again?" in many.shown
    assert left(cli) == [3, 2, 1]

    assert cli.typed("y\n", "discard", "1").returncode == 0
    assert "?" not in cli.typed("", "retry", "2").shown  # it was named
    assert left(cli) == [3]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["retry"], "say which dead letters"),
        (["discard", "--yes"], "say which dead letters"),
        (["discard", "--all", "--task", "failing", "--yes"], "leave the rest out"),
        (["discard", "1"], "say so with --yes"),
        (["retry", "--all"], "say so with --yes"),
        (["retry", "--task", "nobody"], "say so with --yes"),
        (["show"], "Missing argument"),
        (["show", "first"], "valid integer"),
        (["list", "--limit", "0"], "--limit"),
    ],
)
def test_bad_usage_is_exit_code_two_and_changes_nothing(cli: Cli, arguments: list[str], says: str) -> None:
    done = cli(*arguments)

    assert done.returncode == 2
    assert says in " ".join(done.stderr.replace("│", " ").split())
    assert left(cli) == [3, 2, 1]
