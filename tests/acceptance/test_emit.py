"""`morag-client emit`, as a process, against a real receiver and against bad ones."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from recording import Recorder, names

from morag_client import Receiver, Registry
from morag_client.testing.serving import ThreadedServer
from morag_client.wire.signature import verify_signature

COMMAND = Path(sys.executable).with_name("morag-client")
DIALECTS = {
    "envelope": 2,
    "enveloped_step": 14,
    "flat_step": 14,
    "ingest_result": 1,
    "stage_completed": 5,
    "pipeline_completed": 1,
    "stage_result": 5,
    "stage_chain": 1,
}


def emit(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("MORAG_", "WEBHOOK_"))}
    return subprocess.run(
        [COMMAND, "emit", *arguments],
        env={**environ, **variables},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[str]:
    registry = Registry()

    @registry.on("*")
    def look(event: object) -> None:
        pass

    app = Receiver(
        registry=registry, secrets=["new", "old"], database_url=f"sqlite:///{tmp_path}/inbox.db", inspect=True
    )
    with ThreadedServer(app) as server:
        yield f"{server.url}/webhook"


def test_fourteen_lines_and_exit_code_zero(receiver: str) -> None:
    done = emit("--url", receiver, "--secret", "old", "--task-id", "task-1")

    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert len(lines) == 14
    assert lines[0].split()[:4] == ["task.started", "200", "1", "attempt"]
    assert lines[-1].split()[0] == "task.completed"
    assert "14 of 14 deliveries accepted (task task-1)" in done.stderr


@pytest.mark.parametrize(("dialect", "count"), DIALECTS.items())
def test_a_real_receiver_takes_every_dialect(receiver: str, dialect: str, count: int) -> None:
    done = emit("--url", receiver, "--secret", "new", "--dialect", dialect, "--json")

    deliveries = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert len(deliveries) == count
    assert {delivery["dialect"] for delivery in deliveries} <= {dialect, "envelope"}
    assert all(delivery["ok"] and delivery["status_code"] == 200 for delivery in deliveries)
    assert deliveries[0].keys() == {"event", "dialect", "ok", "attempts", "status_code", "seconds", "error"}


def test_the_first_of_several_secrets_in_the_environment_signs() -> None:
    with Recorder() as recorder:
        done = emit("--url", recorder.url, MORAG_WEBHOOK_SECRET="first, second", MORAG_BEARER_TOKENS="tok,old")

    assert done.returncode == 0
    verify_signature(recorder.arrivals[0].body, recorder.arrivals[0].headers["x-morag-signature"], "first")
    assert recorder.arrivals[0].headers["authorization"] == "Bearer tok"


def test_ids_milestones_and_a_failure() -> None:
    with Recorder() as recorder:
        done = emit(
            *("--url", recorder.url, "--task-id", "t-9", "--document-id", "d-9"),
            *("--fail-at", "chunking", "--progress-events"),
        )

    assert done.returncode == 0
    assert names(recorder.payloads)[-2:] == ["chunking failed", "task_failed"]
    assert names(recorder.payloads).count("task_progress") == 2
    assert recorder.payloads[-1]["data"]["task_id"] == "t-9"
    assert recorder.payloads[-2]["document_id"] == "d-9"


def test_seventeen_with_milestones(receiver: str) -> None:
    done = emit("--url", receiver, "--secret", "new", "--progress-events")

    assert len(done.stdout.splitlines()) == 17


def test_a_refusal_is_exit_code_one_and_says_why(receiver: str) -> None:
    done = emit("--url", receiver, "--secret", "wrong", "--max-retries", "0")

    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 14
    assert "401" in done.stdout
    assert "no configured secret" in done.stdout
    assert "0 of 14" in done.stderr


def test_one_refusal_among_many_is_exit_code_one() -> None:
    with Recorder(500, 200) as recorder:
        done = emit("--url", recorder.url, "--max-retries", "0")

    assert done.returncode == 1
    assert "13 of 14" in done.stderr


def test_retries_are_told_as_they_happen() -> None:
    with Recorder(500, 503, 200) as recorder:
        done = emit("--url", recorder.url, "--dialect", "ingest_result", "--max-retries", "2", "--retry-delay", "0.05")

    assert done.returncode == 0
    assert "3 attempts" in done.stdout
    assert "attempt 1: 500" in done.stderr
    assert "again in 0.1 s" in done.stderr


def test_nobody_there_ends_at_the_first() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}/webhook"
    done = emit("--url", url, WEBHOOK_MAX_RETRIES="1", WEBHOOK_RETRY_DELAY="0.01")

    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 1
    assert "2 attempts" in done.stdout
    assert "is the receiver running?" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--url"),
        (["--url", "localhost:8001"], "http://host:port"),
        (["--url", "http://x/", "--dialect", "klingon"], "envelope, enveloped_step"),
        (["--url", "http://x/", "--fail-at", "lunch"], "markdown_conversion"),
        (["--url", "http://x/", "--secret", " "], "blank"),
        (["--url", "http://x/", "--max-retries", "-1"], "max-retries"),
        (["--url", "http://x/", "--timeout", "0"], "timeout"),
    ],
)
def test_bad_usage_is_exit_code_two(arguments: list[str], says: str) -> None:
    done = emit(*arguments)

    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("wrong", "advice"),
    [(("--secret", "wrong"), "is --secret"), (("--secret", "old", "--url", "{receiver}x"), "is the path right")],
)
def test_a_wrong_secret_or_path_is_said_at_once(receiver: str, wrong: tuple[str, ...], advice: str) -> None:
    done = emit("--url", receiver, *(part.format(receiver=receiver) for part in wrong))

    assert done.returncode == 1
    assert advice in done.stderr
    assert "again in" not in done.stderr
