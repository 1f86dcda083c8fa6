"""`morag-client mock` as a process, and the guide's curl commands against it as they stand in the guide."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import commands
import documents
import httpx2
import pytest
import receiving
from mocking import KEY, TEXT
from recording import Recorder, names

INGEST = """\
curl -X POST "http://localhost:8000/api/v1/ingest/file" \\
  -H "Authorization: Bearer test-api-key" \\
  -F "source_type=document" \\
  -F "file=@your-document.pdf" \\
  -F "webhook_url=http://localhost:8001/webhook"
"""
PROCESS = """\
curl -X POST "http://localhost:8000/api/v1/process" \\
  -H "Authorization: Bearer test-api-key" \\
  -F "file=@test-document.pdf" \\
  -F 'request_data={"mode":"ingest","webhook_config":{"url":"http://localhost:8001/webhook"}}'
"""
LOOK = "curl http://localhost:8001/webhooks | jq '.'"


class Mocked:
    """A running `morag-client mock`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.output, self.errors = "", ""
        self._readers = [threading.Thread(target=self._read, args=(name,)) for name in ("output", "errors")]
        for reader in self._readers:
            reader.start()
        self.url = receiving.eventually(self._announced, seconds=20)

    @property
    def lines(self) -> list[str]:
        return self.output.splitlines()

    def submit(self, **fields: str) -> httpx2.Response:
        files = {"file": ("tides.md", TEXT)}
        return httpx2.post(f"{self.url}/api/v1/ingest/file", headers=KEY, data=fields, files=files)

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(how)
        code = self.process.wait(20)
        for reader in self._readers:
            reader.join(5)
        return code

    def _announced(self) -> str | None:
        assert self.process.poll() is None, self.output + self.errors
        found = re.search(r"Mock MoRAG\s+(http\S+)", self.output + self.errors)
        return found and found[1]

    def _read(self, name: str) -> None:
        for line in self.process.stdout if name == "output" else self.process.stderr:
            setattr(self, name, getattr(self, name) + line)


@contextlib.contextmanager
def mocked(folder: Path, *arguments: str, **variables: str) -> Iterator[Mocked]:
    process = subprocess.Popen(
        [commands.COMMAND, "mock", *arguments, "--port", "0", "--speed", "0"],
        cwd=folder,
        env=commands.environment(secret=None, **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:  # which closes its pipes
        try:
            yield Mocked(process)
        finally:
            process.kill()


def shell(folder: Path, command: str, *, morag: str, receiver: str) -> Any:
    """What a command of the guide prints, at these servers' ports."""
    for there, here in (("8000", morag), ("8001", receiver)):
        command = command.replace(f"localhost:{there}", f"localhost:{here.rpartition(':')[2]}")
    if not shutil.which("jq"):
        command = command.removesuffix(" | jq '.'")
    done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, timeout=30, check=True)
    return json.loads(done.stdout)


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
@pytest.mark.parametrize("command", [INGEST, PROCESS], ids=["ingest", "process"])
def test_the_guides_commands_word_for_word(tmp_path: Path, command: str) -> None:
    for name in ("your-document.pdf", "test-document.pdf"):
        (tmp_path / name).write_bytes(documents.pdf("The Moon pulls the sea. NOAA measures the tide."))
    with (
        mocked(tmp_path, MORAG_WEBHOOK_SECRET="s3cret, older") as morag,
        commands.served(tmp_path, "--inspect", secret="s3cret") as receiver,
    ):
        submitted = shell(tmp_path, command, morag=morag.url, receiver=receiver.url)

        def fourteen() -> Any:
            shown = shell(tmp_path, LOOK, morag=morag.url, receiver=receiver.url)
            return shown if len(shown) == 14 else None

        shown = receiving.eventually(fourteen, seconds=20)

    told = names(item["payload"] for item in shown)
    assert set(told) >= {"task_started", "chunking completed", "task_completed"}
    assert submitted["task_id"] in json.dumps(shown[0]["payload"])


def test_it_announces_itself_and_ends_cleanly(tmp_path: Path) -> None:
    with mocked(tmp_path, "--profile", "r1") as morag:
        code = morag.stop()

    assert code == 0
    assert "profile r1" in morag.output
    assert "test-api-key" in morag.output
    assert "not signed" in morag.output
    assert "Traceback" not in morag.errors


def test_a_key_of_ones_own_is_not_shown(tmp_path: Path) -> None:
    with mocked(tmp_path, MORAG_API_KEY="a-key-of-ones-own") as morag:
        refused = morag.submit()
        code = morag.stop(signal.SIGTERM)

    assert (refused.status_code, code) == (401, 0)
    assert "a-key-of-ones-own" not in morag.output + morag.errors


def test_others_could_use_the_key_that_everybody_knows(tmp_path: Path) -> None:
    with mocked(tmp_path, "--host", "0.0.0.0") as open_to_all:
        open_to_all.stop()
    with mocked(tmp_path, "--host", "0.0.0.0", "--api-key", "another") as guarded:
        guarded.stop()

    assert "--api-key" in open_to_all.errors
    assert "--api-key" not in guarded.errors


def test_nonsense_from_callers_makes_no_noise(tmp_path: Path) -> None:
    with mocked(tmp_path) as morag:
        headers = {**KEY, "content-type": "multipart/form-data; boundary=y"}
        answer = httpx2.post(f"{morag.url}/api/v1/ingest/file", headers=headers, content=b"nonsense")
        morag.stop()

    assert answer.status_code == 400
    assert morag.errors == "Stopping ...\n"


def test_a_line_for_each_attempt(tmp_path: Path) -> None:
    with Recorder(500, 200) as recorder, mocked(tmp_path, "--log", "--retry-delay", "0.01") as morag:
        morag.submit(webhook_url=recorder.url)
        receiving.eventually(lambda: "task.completed" in morag.output, seconds=20)
        morag.stop()

    attempts = [line for line in morag.lines if " attempt " in line]
    assert len(attempts) == 15
    assert re.search(r"task\.started +500  attempt 1 .* again in 0\.01 s", attempts[0])
    assert re.search(r"task\.started +200  attempt 2", attempts[1])


def test_attempts_for_machines(tmp_path: Path) -> None:
    arguments = ("--json", "--envelope-steps", "--webhook-secret", "s3cret", "--bearer-token", "tok")
    with Recorder() as recorder, mocked(tmp_path, *arguments) as morag:
        task_id = morag.submit(webhook_url=recorder.url).json()["task_id"]
        receiving.eventually(lambda: "task.completed" in morag.output, seconds=20)
        morag.stop()

    attempts = [json.loads(line) for line in morag.lines]
    assert len(attempts) == 14
    assert {attempt["task_id"] for attempt in attempts} == {task_id}
    assert {attempt["dialect"] for attempt in attempts} == {"envelope", "enveloped_step"}
    assert all("x-morag-signature" in arrival.headers for arrival in recorder.arrivals)
    assert {arrival.headers["authorization"] for arrival in recorder.arrivals} == {"Bearer tok"}
    assert "Mock MoRAG" in morag.errors


def test_allowed_hosts_and_faults(tmp_path: Path) -> None:
    arguments = ("--allowed-host", "127.0.0.1", "--allowed-host", "example.com", "--fault", "drop:events=chunking.*")
    with Recorder() as recorder, mocked(tmp_path, *arguments) as morag:
        refused = morag.submit(webhook_url="http://example.org/")
        morag.submit(webhook_url=recorder.url)
        receiving.eventually(lambda: len(recorder.arrivals) == 12, seconds=20)
        morag.stop()

    assert refused.status_code == 400
    assert "127.0.0.1, example.com" in morag.output
    assert "drop" in morag.output


def test_ending_does_not_wait_for_retries(tmp_path: Path) -> None:
    with Recorder(500) as recorder, mocked(tmp_path, "--retry-delay", "60") as morag:
        morag.submit(webhook_url=recorder.url)
        receiving.eventually(lambda: recorder.arrivals, seconds=20)

        began = time.monotonic()
        assert morag.stop() == 0
        assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--profile", "r9"], "guide, r1, r2, r3"),
        (["--profile", "r2", "--envelope-steps"], "enveloped steps"),
        (["--allowed-host", "http://x"], "is no host"),
        (["--fault", "flyer"], "flyer"),
        (["--timeout", "0"], "timeout"),
        (["--speed", "nan"], "speed"),
        (["--host", "300.0.0.1"], "300.0.0.1"),
    ],
)
def test_bad_usage(tmp_path: Path, arguments: list[str], says: str) -> None:
    done = commands.run(tmp_path, "mock", "--port", "0", *arguments)

    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_names_the_option(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = commands.run(tmp_path, "mock", "--port", port)

    assert done.returncode == 2
    assert f"port {port}" in done.stderr
    assert "--port" in done.stderr
