"""`morag-client serve` as a process: started, stopped, killed in the middle, and started again."""

from __future__ import annotations

import signal
import socket
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import commands
import deliveries
import pytest
import receiving
import servers

MODULE = """
import asyncio, os, threading, time
from morag_client import Context, Event, Receiver, on

def note(word, event):
    # In one write: several threads and processes may note at once.
    fd = os.open("notes.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{word} {event.task_id}\\n".encode())
    os.close(fd)

@on("*", name="notes")
async def handle(event: Event, context: Context) -> None:
    note("began", event)
    await asyncio.sleep(float(os.environ.get("SLOWNESS", 0)))
    note("done", event)

@on("task.failed", name="hangs")
def hang(event: Event) -> None:
    note("hangs", event)
    threading.Event().wait(float(os.environ.get("HANGS", 0)))

receiver = Receiver()
"""
DATABASE = "sqlite:///inbox.db"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(MODULE)
    return tmp_path


def post(url: str, body: bytes) -> servers.Answer | None:
    return servers.exchange(f"{url}/webhook", servers.request_bytes(body, servers.signed(body)))


def notes(folder: Path, word: str) -> list[str]:
    path = folder / "notes.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.split(" ", 1)[1] for line in lines if line.startswith(f"{word} ")]


def states(folder: Path) -> dict[str, int]:
    return dict(receiving.query(folder, "SELECT state, count(*) FROM webhook_events GROUP BY state"))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_receives_handles_and_ends_in_order(folder: Path, how: signal.Signals) -> None:
    with commands.served(folder, "app:receiver", "--database-url", DATABASE) as served:
        answers = [post(served.url, deliveries.step_body(f"task-{number}")) for number in range(5)]
        code = served.stop(how)

    assert [answer.body for answer in answers] == [b'{"status":"received"}'] * 5
    assert code == 0
    assert sorted(notes(folder, "done")) == [f"task-{number}" for number in range(5)]
    assert states(folder) == {"handled": 5}
    assert "Handlers      notes, hangs" in served.output
    assert served.output.count("received chunking.completed") == 5
    assert "Traceback" not in served.output
    assert "Warning" not in served.output


def test_a_signal_lets_slow_handlers_finish_within_the_grace_time(folder: Path) -> None:
    with commands.served(folder, "app", "--database-url", DATABASE, SLOWNESS="0.7") as served:
        assert post(served.url, deliveries.step_body("slow")).status == 200
        receiving.eventually(lambda: notes(folder, "began"))
        began = time.monotonic()
        code = served.stop()

    assert code == 0
    assert 0.2 < time.monotonic() - began < 5
    assert notes(folder, "done") == ["slow"]
    assert states(folder) == {"handled": 1}


def test_an_async_handler_that_is_cut_off_runs_again_after_a_restart(folder: Path) -> None:
    with commands.served(folder, "app", "--database-url", DATABASE, SLOWNESS="60", MORAG_GRACE="0.2") as served:
        assert post(served.url, deliveries.step_body("slow")).status == 200
        receiving.eventually(lambda: notes(folder, "began"))
        began = time.monotonic()
        assert served.stop() == 0
        assert time.monotonic() - began < 4
    assert states(folder) == {"stored": 1}

    with commands.served(folder, "app", "--database-url", DATABASE) as served:
        receiving.eventually(lambda: notes(folder, "done") == ["slow"])
        assert served.stop() == 0
    assert states(folder) == {"handled": 1}
    assert notes(folder, "began") == ["slow", "slow"]


def test_a_plain_handler_that_hangs_does_not_keep_the_process_from_ending(folder: Path) -> None:
    with commands.served(folder, "app", "--database-url", DATABASE, HANGS="600", MORAG_GRACE="0.2") as served:
        assert post(served.url, deliveries.task_body("stuck", "failed")).status == 200
        receiving.eventually(lambda: notes(folder, "hangs"))
        began = time.monotonic()
        assert served.stop() == 0
        assert time.monotonic() - began < 5

    assert states(folder) == {"stored": 1}
    assert "of a task did not end within the grace time" in served.output


def test_what_was_answered_survives_a_kill_and_is_handled_after_the_restart(folder: Path) -> None:
    accepted: list[str] = []
    settings = {"MORAG_LEASE": "1", "SLOWNESS": "0.02"}

    def send(url: str, sender: int) -> None:
        for number in range(1000):
            task = f"task-{sender}-{number % 7}-{number}"
            try:
                answer = post(url, deliveries.step_body(task))
            except OSError:
                return
            if answer is not None and answer.status == 200:
                accepted.append(task)

    with commands.served(folder, "app:receiver", "--database-url", DATABASE, "--no-access-log", **settings) as served:
        senders = [threading.Thread(target=send, args=(served.url, number)) for number in range(6)]
        for sender in senders:
            sender.start()
        receiving.eventually(lambda: len(accepted) > 150)
        served.process.send_signal(signal.SIGKILL)
        for sender in senders:
            sender.join()
        assert served.process.wait(5) == -signal.SIGKILL
    assert len(accepted) > 150
    stored = [task for (task,) in receiving.query(folder, "SELECT task_id FROM webhook_events")]
    assert len(stored) == len(set(stored))
    assert set(accepted) <= set(stored)
    assert states(folder).get("stored")

    with commands.served(folder, "app:receiver", "--database-url", DATABASE, **settings) as served:
        receiving.eventually(lambda: states(folder).keys() == {"handled"}, seconds=15)
        assert served.stop() == 0

    assert set(notes(folder, "done")) == set(stored)
    assert receiving.query(
        folder, "SELECT count(*) FROM webhook_handler_runs WHERE handler = 'notes' AND state = 'succeeded'"
    ) == [(len(stored),)]
    # At least once: only what was under way when the process was killed may have run twice.
    assert len(notes(folder, "done")) - len(stored) <= 64


def test_without_a_module_deliveries_are_stored_and_handled_later(folder: Path) -> None:
    with commands.served(folder, "--inspect") as served:
        assert post(served.url, deliveries.step_body("early")).status == 200
        listed = servers.exchange(served.url, servers.request_bytes(b"", method=b"GET", target=b"/webhooks"))
        assert served.stop() == 0
    assert [item["payload"]["task_id"] for item in listed.json] == ["early"]
    assert "none: deliveries are stored" in served.output
    assert "/webhooks and /api/events" in served.output
    assert (folder / "morag.db").exists()

    with commands.served(folder, "app:receiver") as served:
        receiving.eventually(lambda: notes(folder, "done") == ["early"])
        assert served.stop() == 0


def test_insecure_is_said_at_each_start(folder: Path) -> None:
    body = deliveries.task_body()
    with commands.served(folder, "--insecure", "--no-access-log", secret=None) as served:
        assert servers.exchange(f"{served.url}/webhook", servers.request_bytes(body)).status == 200
        assert served.stop() == 0

    assert "can make it believe anything" in served.output
    assert "received" not in served.output


@pytest.mark.parametrize(
    ("arguments", "variables", "says"),
    [
        ([], {"MORAG_WEBHOOK_SECRET": " "}, "MORAG_WEBHOOK_SECRET"),
        ([], {"MORAG_LEASE": "soon"}, "MORAG_LEASE"),
        ([], {"MORAG_DATABASE_URL": "mysql://root:hunter2@localhost/x"}, "no inbox can be kept in mysql"),
        (["--database-url", "sqlite://"], {}, "memory"),
        (["--database-url", "sqlite:////nowhere/inbox.db"], {}, "folder of the database does not exist"),
        (["nomodule:receiver"], {}, "no module 'nomodule'"),
        (["app.missing:receiver"], {}, "no module 'app.missing'"),
        (["app:on"], {}, "is no Receiver"),
        (["app:nothing"], {}, "is no Receiver"),
        ([":receiver"], {}, "names no module"),
        ([".app:receiver"], {}, "names no module"),
        (["--host", "no.such.host.invalid"], {}, "--host"),
        (["--host", "203.0.113.9"], {}, "choose another address with --host"),
        (["--port", "70000"], {}, "--port"),
        (["bad_handler:receiver"], {}, "cannot be supplied"),
    ],
)
def test_what_cannot_work_is_exit_code_two_and_says_why(
    folder: Path, arguments: list[str], variables: dict[str, str], says: str
) -> None:
    (folder / "bad_handler.py").write_text(
        "from morag_client import Receiver, on\n@on('*')\ndef f(event, other): ...\nreceiver = Receiver()\n"
    )

    done = commands.run(folder, "serve", *arguments, **variables)

    assert done.returncode == 2
    assert says in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("source", "line", "says"),
    [
        ("import no_such_library", "line 1", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("\nraise OSError('no file')", "line 2", "OSError: no file"),
        ("\n\ndef f(:", "line 3", "SyntaxError"),
    ],
)
def test_a_module_that_cannot_be_imported_is_exit_code_two_with_its_own_lines(
    folder: Path, source: str, line: str, says: str
) -> None:
    (folder / "broken.py").write_text(source)

    done = commands.run(folder, "serve", "broken:receiver")

    assert done.returncode == 2
    assert "error: 'broken' cannot be imported:" in done.stderr
    assert f'broken.py", {line}' in done.stderr
    assert says in done.stderr
    assert "typer" not in done.stderr
    assert "importlib" not in done.stderr


def test_what_a_sender_says_tells_the_terminal_nothing(folder: Path) -> None:
    (folder / "repeats.py").write_text(
        "from morag_client import Receiver, on\n"
        "@on('*')\ndef f(event): raise ValueError(event.message)\n"
        "receiver = Receiver()\n"
    )
    with commands.served(folder, "repeats", "--database-url", DATABASE, MORAG_RETRY_ATTEMPTS="1") as served:
        assert post(served.url, deliveries.task_body(message="a\x1b[2Jb")).status == 200
        receiving.eventually(lambda: states(folder).get("failed") == 1)
        assert served.stop() == 0
    again = commands.run(folder, "replay", "1", "--app", "repeats:receiver", "--database-url", DATABASE)

    for said in (served.output, again.stderr):
        assert "ValueError: a [2Jb" in said
        assert "\x1b" not in said


def test_nothing_configured_names_the_choices(folder: Path) -> None:
    done = commands.run(folder, "serve", secret=None)

    assert done.returncode == 2
    for choice in ("MORAG_WEBHOOK_SECRET", "MORAG_BEARER_TOKENS", "--insecure"):
        assert choice in done.stderr


def test_a_port_in_use_is_named_with_the_option_to_change_it(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = commands.run(folder, "serve", "--port", str(port))

    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in done.stderr
    assert "--port" in done.stderr
    assert not (folder / "morag.db").exists()


def test_a_table_that_is_not_ours_is_exit_code_two_with_advice(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "morag.db")) as connection:
        connection.execute("CREATE TABLE webhook_events (id TEXT)")

    done = commands.run(folder, "serve", "--port", "0")

    assert done.returncode == 2
    assert "error: the database has a table 'webhook_events'" in done.stderr
    assert "MORAG_TABLE_PREFIX" in done.stderr
    assert "Traceback" not in done.stderr
    with commands.served(folder, MORAG_TABLE_PREFIX="morag_") as served:
        assert post(served.url, deliveries.task_body()).status == 200
        assert served.stop() == 0


def test_a_database_that_cannot_be_opened_is_exit_code_one(folder: Path) -> None:
    (folder / "morag.db").write_text("this is no database " * 1000)

    done = commands.run(folder, "serve", "--port", "0")

    assert done.returncode == 1
    assert "not a database; look at what --database-url or MORAG_DATABASE_URL names" in done.stderr
    assert "Traceback" not in done.stderr
