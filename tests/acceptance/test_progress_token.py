"""`morag-client progress-token`, and what it opens."""

from __future__ import annotations

import json
from pathlib import Path

import commands
import pytest
import receiving
import servers
import sockets

KEY = "a long random text for tests"


def test_what_it_prints_opens_what_was_said(tmp_path: Path) -> None:
    done = commands.run(tmp_path, "progress-token", "--task", "task-1", secret=None, MORAG_SIGNING_KEY=KEY)
    assert done.returncode == 0, done.stderr

    with (
        servers.serving(receiving.receiver_of(tmp_path, signing_key=KEY)) as url,
        sockets.connected(url, {"token": done.stdout.strip()}) as client,
    ):
        assert client.ask("subscribe", {"task": "task-1"}) == {"status": "subscribed"}
        assert "error" in client.ask("subscribe", {"task": "task-2"})


def test_as_json(tmp_path: Path) -> None:
    ids = ["--correlation", "user=7", "--correlation", "page=1", "--max-age", "2h", "--json"]
    done = commands.run(tmp_path, "progress-token", *ids, secret=None, MORAG_SIGNING_KEY=KEY)

    said = json.loads(done.stdout)
    assert said["scope"] == {"correlation": {"user": "7", "page": "1"}}
    assert said["token"].startswith("morag-p1.")
    assert said["expires_at"].endswith("Z")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "one of task="),
        (["--task", "1", "--all"], "one of task="),
        (["--task", ""], "no id"),
        (["--correlation", "user"], "KEY=VALUE"),
        (["--all", "--max-age", "soon"], "age"),
    ],
)
def test_bad_usage(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = commands.run(tmp_path, "progress-token", *arguments, secret=None, MORAG_SIGNING_KEY=KEY)

    assert done.returncode == 2
    assert said in done.stderr


def test_without_a_key(tmp_path: Path) -> None:
    done = commands.run(tmp_path, "progress-token", "--all", secret=None)

    assert done.returncode == 2
    assert "MORAG_SIGNING_KEY" in done.stderr
