"""`morag-client demo`, as a new user runs it: a process, two ports, a database file."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx2
import pytest

COMMAND = Path(sys.executable).with_name("morag-client")
FREE_PORTS = ("--morag-port", "0", "--receiver-port", "0")


def environment(**variables: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MORAG_", "WEBHOOK_"))}
    return {**kept, "LC_ALL": "C.UTF-8", "PYTHONWARNINGS": "error", **variables}


def demo(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, "demo", *arguments],
        cwd=cwd,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@contextmanager
def running_demo(*arguments: str, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [COMMAND, "demo", *arguments],
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_until(process: subprocess.Popen[str], words: str) -> str:
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if words in line:
            return seen
    raise AssertionError(f"{words!r} did not come: {seen}")


def test_once_shows_fourteen_events_and_ends_well(tmp_path: Path) -> None:
    began = time.monotonic()
    done = demo("--once", *FREE_PORTS, cwd=tmp_path)
    took = time.monotonic() - began

    assert (done.returncode, done.stderr) == (0, "")
    shown = re.findall(r"^ +(\d+) %  ([a-z_.]+)$", done.stdout, re.MULTILINE)
    assert len(shown) == 14
    assert (shown[0], shown[-1]) == (("0", "task.started"), ("100", "task.completed"))
    assert [int(percent) for percent, _ in shown] == [0, 0, 25, 25, 40, 40, 70, 70, 80, 80, 90, 90, 100, 100]
    for handler in ("index_topics", "count_chunks", "list_entities", "announce"):
        assert f"@on {handler}" in done.stdout
    assert "14 events are stored, each once; 14 of them are handled" in done.stdout
    assert "morag-client events" in done.stdout
    assert "morag-client replay" in done.stdout
    assert took < 20


def test_what_it_says_is_in_the_database(tmp_path: Path) -> None:
    done = demo("--once", "--speed", "0", *FREE_PORTS, cwd=tmp_path)

    with closing(sqlite3.connect(tmp_path / "morag.db")) as database:
        events = database.execute("select count(*), count(distinct identity) from webhook_events").fetchone()
        runs = database.execute("select state, count(*) from webhook_handler_runs group by state").fetchall()
    assert done.returncode == 0
    assert events == (14, 14)
    assert runs == [("succeeded", 18)]
    replay = re.search(r"morag-client replay (\d+)", done.stdout)
    assert replay is not None
    listed = subprocess.run(
        [COMMAND, "events", "--json"], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
    )
    names = {str(entry["id"]): entry["name"] for entry in map(json.loads, listed.stdout.splitlines())}
    assert names[replay[1]] == "chunking.completed"


def test_twice_on_one_database(tmp_path: Path) -> None:
    assert [demo("--once", "--speed", "0", *FREE_PORTS, cwd=tmp_path).returncode for _ in range(2)] == [0, 0]


def test_another_database_is_named_to_the_other_commands(tmp_path: Path) -> None:
    done = demo("--once", "--speed", "0", "--database-url", "sqlite:///other.db", *FREE_PORTS, cwd=tmp_path)

    assert (tmp_path / "other.db").exists()
    assert not (tmp_path / "morag.db").exists()
    assert re.search(r"morag-client events --database-url sqlite:///\S*other\.db", done.stdout)


def test_a_terminal_gets_bars(tmp_path: Path) -> None:
    primary, secondary = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, "demo", "--once", *FREE_PORTS],
        cwd=tmp_path,
        env=environment(TERM="xterm-256color", COLUMNS="80", LINES="40"),
        stdout=secondary,
        stderr=secondary,
    )
    os.close(secondary)
    shown = read_terminal(primary)

    assert process.wait(timeout=30) == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    for step in ("task", "markdown_conversion", "content_processing", "ingestion"):
        assert re.search(rf"✓ {step} +━+ +100 %", plain)
    assert re.search(r"• chunking +━+", plain)
    assert re.search(r" 70 %", plain)
    assert "@on count_chunks" in plain


def read_terminal(primary: int) -> str:
    shown = b""
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        if select.select([primary], [], [], 1.0)[0]:
            try:
                read = os.read(primary, 65536)
            except OSError:  # the other end is closed
                break
            if not read:
                break
            shown += read
    os.close(primary)
    return shown.decode()


def test_a_document_that_fails_is_exit_code_one(tmp_path: Path) -> None:
    (tmp_path / "report.xyz").write_bytes(b"of nobody's format")
    done = demo("--once", "--speed", "0", "--document", "report.xyz", *FREE_PORTS, cwd=tmp_path)

    assert done.returncode == 1
    assert "markdown_conversion.failed" in done.stdout
    assert "The task failed: Unsupported file format: .xyz" in done.stdout
    assert "4 events are stored" in done.stdout


def test_a_text_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "naïve.txt").write_text("Der Mond ist das, was die Gezeiten macht, und so ist es auch für uns.")
    done = demo("--once", "--speed", "0", "--document", "naïve.txt", *FREE_PORTS, cwd=tmp_path)

    assert done.returncode == 0
    assert "cut into 1, of 69 characters" in done.stdout
    assert "documents_de" in done.stdout


@pytest.mark.parametrize("option", ["--morag-port", "--receiver-port"])
def test_a_port_in_use_is_named_with_its_option(tmp_path: Path, option: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = demo("--once", *FREE_PORTS, option, port, cwd=tmp_path)

    assert done.returncode == 1
    assert re.fullmatch(rf"error: port {port} of 127\.0\.0\.1 is in use; .* {option}\n", done.stderr)


def test_a_table_that_is_not_ours_is_said_once(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "morag.db")) as database:
        database.execute("create table webhook_events (id text primary key, task_id text)")
        database.commit()
    done = demo("--once", *FREE_PORTS, cwd=tmp_path)

    assert done.returncode == 1
    assert "webhook_events" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_the_servers_stay_up_until_they_are_told_to_end(tmp_path: Path, ending: signal.Signals) -> None:
    (tmp_path / "tides.md").write_text("# Tides\n\nThe tide is the rise of the sea.\n")
    with running_demo("--speed", "0", *FREE_PORTS, cwd=tmp_path) as process:
        shown = read_until(process, "-F file=")
        receiver = re.search(r"(http://\S+)/webhooks", shown)
        morag = re.search(r"curl (http://\S+)/api/v1/ingest/file", shown)
        assert receiver is not None
        assert morag is not None
        assert len(httpx2.get(f"{receiver[1]}/webhooks").json()) == 14
        with (tmp_path / "tides.md").open("rb") as file:
            answer = httpx2.post(
                f"{morag[1]}/api/v1/ingest/file",
                headers={"Authorization": "Bearer test-api-key"},
                data={"webhook_url": f"{receiver[1]}/webhook"},
                files={"file": file},
            )
        assert answer.status_code == 200
        read_until(process, "task.completed")
        process.send_signal(ending)
        rest, errors = process.communicate(timeout=20)

    assert process.returncode == 0
    assert rest.endswith("Stopped.\n")
    assert errors == ""
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(receiver[1])


def test_only_the_mock_can_sign(tmp_path: Path) -> None:
    with running_demo("--speed", "0", *FREE_PORTS, cwd=tmp_path) as process:
        url = re.search(r"http://\S+/webhook\b", read_until(process, "/webhook"))
        assert url is not None
        read_until(process, "Both servers stay up")
        forged = httpx2.post(url[0], json={"event_type": "task_started"})

    assert forged.status_code == 401


def test_interrupting_the_one_run_is_exit_code_one(tmp_path: Path) -> None:
    with running_demo("--once", *FREE_PORTS, cwd=tmp_path) as process:
        read_until(process, "markdown_conversion.started")
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=20)

    assert process.returncode == 1
    assert "Stopped." in rest
    assert errors == ""


def test_a_missing_document_is_bad_usage(tmp_path: Path) -> None:
    done = demo("--once", "--document", "nowhere.md", cwd=tmp_path)

    assert done.returncode == 2
    assert "nowhere.md" in done.stderr
