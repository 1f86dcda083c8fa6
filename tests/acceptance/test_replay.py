"""`morag-client events` and `replay`: what the inbox holds, and handling it again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import commands
import deliveries
import pytest
import receiving

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
    ("arguments", "says"),
    [
        (["events", "--state", "lost"], "stored, retrying, handled or failed"),
        (["events", "--limit", "0"], "--limit"),
        (["events", "--database-url", "sqlite:///elsewhere.db"], "there is no inbox at"),
        (["replay", "1", "--database-url", "sqlite:///elsewhere.db"], "there is no inbox at"),
        (["replay"], "ID"),
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
