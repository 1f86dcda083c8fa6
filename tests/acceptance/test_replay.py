"""`morag-client events` and `replay`: what the inbox holds, and handling it again."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import Any

import commands
import databases
import deliveries
import pytest
import receiving
import servers
import terminals

from morag_client import Event, Registry

MODULE = """
import pathlib
from morag_client import Context, Event, Receiver, RetryPolicy, on

@on("*", name="notify")
def notify(event: Event, context: Context) -> None:
    if not pathlib.Path("fixed").exists():
        raise ValueError("nobody is there")
    with open("notified.txt", "a") as file:
        file.write(f"{event.task_id} attempt {context.attempt}\\n")

@on("task.completed", name="index")
async def index(event: Event) -> None:
    pass

receiver = Receiver(retry=RetryPolicy(attempts=1))
"""


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """An inbox with a record that failed, one that was handled, and one that waits."""
    registry = Registry()

    @registry.on("task.completed", name="notify")
    def notify(event: Event) -> None:
        raise ValueError("nobody is there")

    registry.on("task.completed", "task.started", name="index")(lambda event: None)
    async with receiving.working(tmp_path, registry) as receiver:
        await receiving.send(
            receiver, deliveries.task_body("failing", "completed"), deliveries.task_body("fine", "started")
        )
        await receiver.idle()
    async with receiving.working(tmp_path) as receiver:
        await receiving.send(receiver, deliveries.step_body("waiting"))
    (tmp_path / "app.py").write_text(MODULE)
    return tmp_path


DATABASE = ("--database-url", "sqlite:///inbox.db")


def listed(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    done = commands.run(folder, "events", "--json", *DATABASE, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def states(folder: Path) -> dict[int, str]:
    return dict(receiving.query(folder, "SELECT id, state FROM webhook_events"))


def test_what_was_received_and_became_of_it(folder: Path) -> None:
    records = listed(folder)
    done = commands.run(folder, "events", *DATABASE)

    assert [(record["id"], record["task_id"], record["state"]) for record in records] == [
        (3, "waiting", "stored"),
        (2, "fine", "handled"),
        (1, "failing", "failed"),
    ]
    runs = {run["handler"]: (run["state"], run["error"]) for run in records[2]["runs"]}
    assert runs == {"notify": ("failed", "ValueError: nobody is there"), "index": ("succeeded", None)}
    assert done.returncode == 0
    assert "…" not in done.stdout
    for word in ("failing", "task.completed", "notify: failed", "ValueError: nobody is there", "waiting"):
        assert word in " ".join(done.stdout.split())
    assert [record["id"] for record in listed(folder, "--limit", "1")] == [3]
    assert [record["id"] for record in listed(folder, "--state", "failed")] == [1]


async def test_what_a_sender_says_to_a_terminal_or_a_log_does_not_get_there(tmp_path: Path) -> None:
    async with receiving.working(tmp_path) as receiver:
        await receiving.send(receiver, deliveries.task_body("\x1b[31mred\x1b]0;title\x07\r\nforged"))

    done = commands.run(tmp_path, "events", *DATABASE)

    assert "red" in done.stdout
    assert not {"\x1b", "\x07", "\r"} & set(done.stdout)


def test_replay_lets_a_running_receiver_pick_it_up(folder: Path) -> None:
    (folder / "fixed").touch()
    with commands.served(folder, "app:receiver", *DATABASE) as served:
        receiving.eventually(lambda: states(folder)[3] == "handled")

        done = commands.run(folder, "replay", "1", *DATABASE)

        assert (done.returncode, done.stdout) == (0, "record 1 waits again for notify\n")
        receiving.eventually(lambda: states(folder)[1] == "handled")
        assert served.stop() == 0
    assert "failing attempt 1" in (folder / "notified.txt").read_text()


@pytest.mark.parametrize("is_fixed", [True, False])
def test_replay_with_a_module_runs_the_handlers_here_and_now(folder: Path, is_fixed: bool) -> None:
    if is_fixed:
        (folder / "fixed").touch()

    done = commands.run(folder, "replay", "1", "--app", "app:receiver", *DATABASE)

    assert done.returncode == (0 if is_fixed else 1)
    assert ("notify: succeeded" if is_fixed else "notify: failed") in done.stdout
    assert states(folder)[1] == ("handled" if is_fixed else "failed")
    [(attempts,)] = receiving.query(
        folder, "SELECT attempts FROM webhook_handler_runs WHERE record_id = 1 AND handler = 'notify'"
    )
    assert attempts == 1  # a replay gives all attempts again, and begins with the first


def test_replay_looks_where_serve_stores(folder: Path) -> None:
    (folder / "fixed").touch()
    (folder / "inbox.db").rename(folder / "morag.db")

    done = commands.run(folder, "replay", "1", "2", "--app", "app:receiver")

    assert done.returncode == 0
    assert done.stdout.count("notify: succeeded") == 2
    assert [record["state"] for record in map(json.loads, _lines(commands.run(folder, "events", "--json")))] == [
        "handled"
    ] * 3


def _lines(done: Any) -> list[str]:
    return done.stdout.splitlines()


def test_an_unknown_id_is_exit_code_one_and_the_others_are_done(folder: Path) -> None:
    (folder / "fixed").touch()
    for arguments in (["--app", "app:receiver"], []):
        done = commands.run(folder, "replay", "99", "2", *DATABASE, *arguments)

        assert done.returncode == 1
        assert "error: there is no record 99" in done.stderr
        assert "Traceback" not in done.stderr
        assert "2" in done.stdout


@pytest.mark.parametrize(
    "arguments", [["--yes"], ["--dry-run"], ["--yes", "--json"], ["--yes", "--app", "app:receiver"]]
)
def test_where_nothing_is_meant_that_is_said_and_exit_code_one(folder: Path, arguments: list[str]) -> None:
    done = commands.run(folder, "replay", "--task", "nope", *arguments, *DATABASE)

    assert (done.returncode, done.stderr) == (1, "error: there is no such record\n")
    if "--json" in arguments:
        assert set(json.loads(done.stdout).values()) == {0}
    else:
        assert done.stdout == ""


def test_a_dry_run_says_how_many_and_changes_nothing(folder: Path) -> None:
    before = states(folder)

    counted = {
        options: replayed(folder, *options.split(), "--dry-run")["replayed"]
        for options in (
            "--state failed",
            "--task fine",
            "--name task",
            "--name *",
            "--since 1h",
            "1 2 --name *.started",
            "--since 2026-01-01 --until 2999-01-01T00:00",
        )
    }
    said = commands.run(folder, "replay", "--name", "*", "--dry-run", *DATABASE)
    unknown = commands.run(folder, "replay", "1", "99", "--dry-run", *DATABASE)

    assert counted == {
        "--state failed": 1,
        "--task fine": 1,
        "--name task": 2,
        "--name *": 2,
        "--since 1h": 2,
        "1 2 --name *.started": 1,
        "--since 2026-01-01 --until 2999-01-01T00:00": 2,
    }
    assert said.stdout == "2 records would be handled again\n1 record not handled at all yet, and left alone\n"
    assert (unknown.returncode, unknown.stderr) == (1, "error: there is no record 99\n")
    assert states(folder) == before
    assert receiving.query(folder, "SELECT * FROM webhook_audit") == []


def replayed(folder: Path, *arguments: str) -> dict[str, Any]:
    done = commands.run(folder, "replay", *arguments, "--json", *DATABASE)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_many_are_replayed_by_what_they_have_in_common_and_it_is_noted(folder: Path) -> None:
    (folder / "fixed").touch()

    done = replayed(folder, "--name", "task", "--why", "repaired", "--yes", "--app", "app:receiver")

    assert (done["replayed"], done["states"]) == (2, {"handled": 2})
    assert sorted((folder / "notified.txt").read_text().split()) == sorted(
        "failing attempt 1 waiting attempt 1 fine attempt 1".split()
    )
    [(action, who, why, criteria, affected)] = receiving.query(
        folder, "SELECT action, who, why, criteria, affected FROM webhook_audit"
    )
    assert (action, who, why, affected) == ("replay", getpass.getuser(), "repaired", 2)
    assert json.loads(criteria) == {"name": "task"}
    assert len(states(folder)) == 3


def test_one_handler_is_run_for_what_came_before_it(folder: Path) -> None:
    """`notify` asks for everything, and was not there when the second record came."""
    (folder / "fixed").touch()

    done = replayed(folder, "--task", "fine", "--handler", "notify", "--yes", "--app", "app:receiver")

    assert done["states"] == {"handled": 1}
    assert "fine attempt 1" in (folder / "notified.txt").read_text()


def test_what_fails_again_is_exit_code_one(folder: Path) -> None:
    done = commands.run(folder, "replay", "--state", "failed", "--yes", "--app", "app:receiver", *DATABASE)

    assert (done.returncode, done.stdout) == (1, "1 record to be handled again\nnow: 1 failed\n")


def test_what_was_pruned_cannot_be_replayed(folder: Path) -> None:
    databases.TestDatabase("sqlite", "", folder / "inbox.db").execute("UPDATE webhook_events SET body = NULL")

    done = commands.run(folder, "replay", "1", *DATABASE)
    several = commands.run(folder, "replay", "--name", "*", "--yes", *DATABASE)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: record 1 has no body any more and cannot be handled again\n"
    assert (several.returncode, several.stderr) == (0, "")
    assert several.stdout == "3 records without a body any more, which cannot be handled again\n"


def test_at_a_terminal_it_asks_before_many(folder: Path) -> None:
    no = terminals.run(folder, "replay", "--name", "*", *DATABASE, typed="n\n")
    before = states(folder)
    yes = terminals.run(folder, "replay", "--name", "*", *DATABASE, typed="y\n")
    one = terminals.run(folder, "replay", "2", *DATABASE)

    assert no.returncode == 1
    assert "Handle 2 records again?" in no.shown
    assert before == {1: "failed", 2: "handled", 3: "stored"}
    assert (yes.returncode, states(folder)) == (0, {1: "retrying", 2: "stored", 3: "stored"})
    assert one.returncode == 0
    assert "?" not in one.shown


def test_a_terminal_sees_how_far_a_long_replay_is(folder: Path) -> None:
    copies = "WITH RECURSIVE n(n) AS (SELECT 10 UNION ALL SELECT n + 1 FROM n WHERE n < 1209) "
    columns = [row[1] for row in receiving.query(folder, "PRAGMA table_info(webhook_events)")]
    values = [{"id": "n", "identity": "randomblob(16)"}.get(column, column) for column in columns]
    databases.TestDatabase("sqlite", "", folder / "inbox.db").execute(
        f"{copies} INSERT INTO webhook_events ({', '.join(columns)})"  # noqa: S608
        f" SELECT {', '.join(values)} FROM webhook_events, n WHERE id = 2"
    )

    done = terminals.run(folder, "replay", "--state", "handled", "--yes", *DATABASE)

    assert "Replaying" in done.shown
    assert "/1201" in done.shown
    assert "1,201 records to be handled again" in done.shown
    assert set(states(folder).values()) == {"failed", "stored"}


def test_replay_on_every_database(database: databases.TestDatabase, tmp_path: Path) -> None:
    """Beside a running receiver, of which the handler was repaired."""
    (tmp_path / "app.py").write_text(MODULE)
    arguments = ("--database-url", database.url)
    with commands.served(tmp_path, "app:receiver", *arguments) as served:
        for body in (deliveries.task_body("one"), deliveries.task_body("two"), deliveries.step_body("two")):
            answer = servers.exchange(f"{served.url}/webhook", servers.request_bytes(body, servers.signed(body)))
            assert answer is not None
            assert answer.status == 200
        receiving.eventually(lambda: states_of(database) == ["failed"] * 3)
        (tmp_path / "fixed").touch()

        done = commands.run(tmp_path, "replay", "--task", "two", "--yes", "--json", *arguments)
        receiving.eventually(lambda: states_of(database) == ["failed", "handled", "handled"])
        rest = commands.run(tmp_path, "replay", "--state", "failed", "--yes", *arguments)
        receiving.eventually(lambda: states_of(database) == ["handled"] * 3)
        assert served.stop() == 0

    assert (done.returncode, json.loads(done.stdout)["replayed"]) == (0, 2)
    assert (rest.returncode, rest.stdout) == (0, "1 record to be handled again\n")
    assert database.query("SELECT affected FROM webhook_audit ORDER BY id") == [(2,), (1,)]


def states_of(database: databases.TestDatabase) -> list[str]:
    return [state for _, state in database.query("SELECT id, state FROM webhook_events ORDER BY id")]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["events", "--state", "lost"], "stored, retrying, handled or failed"),
        (["events", "--limit", "0"], "--limit"),
        (["events", "--database-url", "sqlite:///elsewhere.db"], "there is no inbox at"),
        (["replay", "1", "--database-url", "sqlite:///elsewhere.db"], "there is no inbox at"),
        (["replay"], "say which records: ID"),
        (["replay", "--handler", "notify"], "say which records"),
        (["replay", "--state", "lost"], "the state is none of"),
        (["replay", "--since", "soon"], "--since"),
        (["replay", "--name", "*"], "say so with --yes"),
        (["replay", "1", "--handler", "notifi", *DATABASE], "no handler 'notifi' ever ran here"),
        (["replay", "--name", "*", "--handler", "notifi", "--yes", *DATABASE], "say where it is with --app"),
        (["replay", "1", "--app", "app:receiver", "--handler", "notifi"], "there are: notify, index"),
        (["replay", "first"], "valid integer"),
        (["replay", "1", "--app", "nomodule:receiver"], "no module 'nomodule'"),
        (["replay", "1", "--app", "app:on"], "is no Receiver"),
    ],
)
def test_bad_usage_is_exit_code_two_and_makes_no_file(folder: Path, arguments: list[str], says: str) -> None:
    before = sorted(path.name for path in folder.iterdir() if path.suffix == ".db")

    done = commands.run(folder, *arguments)

    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in folder.iterdir() if path.suffix == ".db") == before
