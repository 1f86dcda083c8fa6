"""`morag-client status` and `history`, asked of a mock MoRAG of each release."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import commands
import pytest
from recording import Recorder

from morag_client import MoragClient
from morag_client.testing import MockMorag

KEY = "test-api-key"
TOKEN = "morag-w1.eyJjIjp7InRlbmFudCI6ImFjbWUifX0.Zm9yZ2VkLWZvcmdlZC1mb3JnZWQtZm9yZ2Vk"


@pytest.fixture(params=["guide", "r1", "r2"])
def morag(request: pytest.FixtureRequest) -> Iterator[MockMorag]:
    with MockMorag(profile=request.param, speed=0) as mock:
        yield mock


def run(folder: Path, *arguments: str, url: str, key: str = KEY, **variables: str) -> subprocess.CompletedProcess[str]:
    done = commands.run(
        folder, *arguments, secret=None, MORAG_API_URL=url, MORAG_API_KEY=key, COLUMNS="120", **variables
    )
    assert "Traceback" not in done.stderr
    return done


def submitted(morag: MockMorag, folder: Path, name: str = "tides.md", text: str = "# Tides\n\nThe sea.\n") -> str:
    path = folder / name
    path.write_text(text)
    with Recorder() as hook, MoragClient(base_url=morag.url, api_key=KEY) as client:
        task_id = client.ingest_file(path, webhook_url=f"{hook.url}/{TOKEN}").task_id
        assert morag.wait(task_id, timeout_seconds=20)
    return task_id


def lines(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_how_a_task_stands_in_the_words_of_every_release(morag: MockMorag, tmp_path: Path) -> None:
    task_id = submitted(morag, tmp_path)
    done = run(tmp_path, "status", task_id, url=morag.url)
    as_json = run(tmp_path, "status", task_id, "--json", url=morag.url)

    assert (done.returncode, done.stderr) == (0, "")
    word = lines(as_json)[0]["status"]
    assert word in {"success", "completed"}
    assert f"{word}, 100 %" in done.stdout
    assert "took" in done.stdout
    assert (lines(as_json)[0]["state"], lines(as_json)[0]["task_id"]) == ("completed", task_id)


def test_a_task_that_failed_is_exit_code_one_with_its_error(morag: MockMorag, tmp_path: Path) -> None:
    good, bad = submitted(morag, tmp_path), submitted(morag, tmp_path, "bad.xyz", "of no format")
    done = run(tmp_path, "status", good, bad, good, url=morag.url)

    assert done.returncode == 1
    assert "Unsupported file format" in done.stdout
    assert done.stdout.count(good) == 1


def test_an_id_that_morag_does_not_know(morag: MockMorag, tmp_path: Path) -> None:
    done = run(tmp_path, "status", "nobody", url=morag.url)
    told = run(tmp_path, "history", "nobody", url=morag.url)

    assert (done.returncode, done.stderr) == (0, "pending may also mean that MoRAG does not know the id\n")
    assert (told.returncode, told.stdout) == (1, "")
    assert "knows nothing of nobody" in told.stderr


def test_what_happened_to_a_task_newest_first_and_without_tokens(morag: MockMorag, tmp_path: Path) -> None:
    task_id = submitted(morag, tmp_path)
    done = run(tmp_path, "history", task_id, url=morag.url)
    entries = lines(run(tmp_path, "history", task_id, "--json", url=morag.url))

    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1 + len(entries) > 5
    assert entries[0]["progress"] == 1.0
    assert entries[-1]["progress"] == 0.0
    assert {entry["task_id"] for entry in entries} == {task_id}
    assert "markdown_conversion" in done.stdout
    shown = json.dumps(entries) + done.stdout
    assert "REDACTED" in shown
    assert TOKEN not in shown


@pytest.mark.parametrize("command", ["status", "history"])
def test_a_release_without_tasks_says_so(tmp_path: Path, command: str) -> None:
    with MockMorag(profile="r3") as morag:
        done = run(tmp_path, command, "t", url=morag.url)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "is not in MoRAG's release r3" in done.stderr
    assert "morag-client tasks" in done.stderr


@pytest.mark.parametrize("command", ["status", "history"])
def test_what_goes_wrong_is_one_line_that_says_what_to_do(tmp_path: Path, command: str) -> None:
    with MockMorag() as morag:
        wrong_key = run(tmp_path, command, "t", url=morag.url, key="wrong")
        wrong_url = run(tmp_path, command, "t", url=f"{morag.url}/elsewhere")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = run(tmp_path, command, "t", url=f"http://127.0.0.1:{probe.getsockname()[1]}")
    no_url = run(tmp_path, command, "t", url="localhost:8000")

    for done, says in (
        (wrong_key, "set MORAG_API_KEY"),
        (wrong_url, "--api-url or MORAG_API_URL"),
        (nobody, "is it running? Set --api-url or MORAG_API_URL"),
    ):
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert says in done.stderr
    assert (no_url.returncode, no_url.stderr.count("\n")) == (2, 1)


def test_what_a_server_says_tells_the_terminal_nothing(tmp_path: Path) -> None:
    answer = {"task_id": "t", "status": "running", "message": "\x1b[2Jgone", "active_tasks": [], "total_count": 0}
    with Recorder(answer=json.dumps(answer).encode()) as recorder:
        done = run(tmp_path, "status", "t", url=recorder.base_url)

    assert done.returncode == 0
    assert "\x1b" not in done.stdout
