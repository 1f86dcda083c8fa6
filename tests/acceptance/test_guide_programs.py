"""Programs that follow MoRAG's guide take what the emitter sends, with no field missing."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import databases
import httpx2
import pytest
import receiving
from recording import Recorder

from morag_client.testing import Emitter

PROGRAMS = Path(__file__).parents[1] / "guide_programs"
STEPS = [
    "markdown_conversion",
    "metadata_extraction",
    "content_processing",
    "chunking",
    "graph_extraction",
    "ingestion",
]
SEQUENCE = ["task_started", *["step_started", "step_completed"] * 6, "task_completed"]


class Program:
    """One of them, running; `told` is what it said of each webhook."""

    def __init__(self, process: subprocess.Popen[str], output: Path) -> None:
        self._process = process
        self._output = output
        port = receiving.eventually(self._port, seconds=20)
        self.url = f"http://127.0.0.1:{port}"

    @property
    def told(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._output.read_text().splitlines() if line.startswith("{")]

    def _port(self) -> str | None:
        said = self._output.read_text()
        assert self._process.poll() is None, said
        found = re.search(r"listening on (\d+)", said)
        return found and found[1]


@contextlib.contextmanager
def running(folder: Path, *command: str | Path) -> Iterator[Program]:
    output = folder / "program.log"
    with output.open("w") as said, subprocess.Popen([*command, "0"], stdout=said, stderr=said, text=True) as process:
        try:
            yield Program(process, output)
        finally:
            process.kill()


@contextlib.contextmanager
def python(folder: Path, name: str) -> Iterator[Program]:
    with running(folder, sys.executable, PROGRAMS / name) as program:
        yield program


@pytest.fixture(scope="session")
def express(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the Express consumer and what it needs, from the npm registry."""
    if shutil.which("npm") is None:
        reason = "the guide's Express consumer needs Node and npm"
        if "node" in databases.REQUIRED:
            pytest.fail(reason)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("express")
    for file in (PROGRAMS / "express").iterdir():
        shutil.copy(file, folder)
    installing = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run(installing, cwd=folder, check=True, capture_output=True, timeout=120)
    return folder


def emit(url: str, **how: Any) -> list[int | None]:
    with Emitter(webhook_url=f"{url}/webhook", dialect="enveloped_step", max_retries=0) as emitter:
        return [result.status_code for result in emitter.run_pipeline(**how)]


def check_sequence(told: Sequence[dict[str, Any]]) -> None:
    assert [one["event_type"] for one in told] == SEQUENCE
    assert len({one["task_id"] for one in told}) == 1
    assert [one["step"] for one in told[1:-1]] == [step for step in STEPS for _ in range(2)]
    percents = [one["progress_percent"] for one in told[1:-1]]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert told[-1]["chunks"] > 0


def test_the_flask_consumer_finds_every_field(tmp_path: Path) -> None:
    with python(tmp_path, "flask_consumer.py") as consumer:
        assert emit(consumer.url) == [200] * 14

        told = consumer.told
        check_sequence(told)
        assert told[2]["url"].endswith("/markdown.md")
        assert told[2]["pages"] >= 1
        assert told[-2]["chunks"] == told[-1]["chunks"]
        assert told[-2]["facts"] > 0


@pytest.mark.timeout(180)
def test_the_express_consumer_finds_every_field(tmp_path: Path, express: Path) -> None:
    with running(tmp_path, "node", express / "consumer.mjs") as consumer:
        assert emit(consumer.url) == [200] * 14

        check_sequence(consumer.told)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("fail_at", ["chunking", "ingestion"])
def test_a_failure_is_understood_too(tmp_path: Path, express: Path, fail_at: str) -> None:
    (tmp_path / "node").mkdir()
    with (
        python(tmp_path, "flask_consumer.py") as flask,
        running(tmp_path / "node", "node", express / "consumer.mjs") as node,
    ):
        for consumer in (flask, node):
            assert set(emit(consumer.url, fail_at=fail_at)) == {200}

            *_, step, task = consumer.told
            assert (step["event_type"], step["step"], step["status"]) == ("step_failed", fail_at, "failed")
            assert (task["event_type"], task["error"]) == ("task_failed", f"{fail_at} was told to fail")


def test_the_test_server_keeps_lists_and_clears(tmp_path: Path) -> None:
    with python(tmp_path, "inspection_server.py") as server:
        assert emit(server.url) == [200] * 14

        listed = ask(f"{server.url}/webhooks")
        assert [item["payload"]["event_type"] for item in listed] == SEQUENCE
        assert {item["headers"]["User-Agent"] for item in listed} == {"MoRAG-Webhook/1.0"}
        assert [one["event_type"] for one in server.told] == SEQUENCE
        assert ask(f"{server.url}/webhooks/clear", method="POST") == {"status": "cleared"}
        assert ask(f"{server.url}/webhooks") == []


@pytest.mark.parametrize("fail_at", [None, *STEPS])
def test_the_validator_finds_nothing_wrong(fail_at: str | None) -> None:
    with Recorder() as recorder:
        emit(recorder.base_url, fail_at=fail_at)
    bodies = [arrival.body for arrival in recorder.arrivals]

    assert len(bodies) == (14 if fail_at is None else 2 * STEPS.index(fail_at) + 4)
    assert validate(bodies) == [[]] * len(bodies)


def test_the_validator_does_find_what_is_wrong() -> None:
    broken = [
        {"event_type": "task_completed", "timestamp": "now", "data": {"task_id": "a", "status": "failed"}},
        {"event_type": "step_completed", "data": {"step": "chunking", "progress_percent": 101}},
    ]

    completed, step = validate([json.dumps(body).encode() for body in broken])

    assert completed == ["'now' is not a 'date-time'", "completed, with the status 'failed'"]
    assert len(step) == 5


def validate(bodies: Sequence[bytes]) -> list[list[str]]:
    done = subprocess.run(
        [sys.executable, PROGRAMS / "webhook_validator.py"],
        input=b"\n".join(bodies),
        capture_output=True,
        timeout=30,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def ask(url: str, *, method: str = "GET") -> Any:
    return httpx2.request(method, url, timeout=10).raise_for_status().json()
