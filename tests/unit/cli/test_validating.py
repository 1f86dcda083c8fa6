"""`morag-client validate`."""

from __future__ import annotations

import json
from pathlib import Path

import bodies
import pytest
from typer.testing import CliRunner

from morag_client.cli.application import app
from morag_client.wire.validation import validate_webhook


def run(*arguments: object, stdin: bytes | None = None):
    return CliRunner().invoke(app, ["validate", *map(str, arguments)], input=stdin)


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.json"
    path.write_text('{"event_type": "task_completed", "timestamp": "x", "data": {"status": "failed"}}')
    return path


@pytest.mark.parametrize("name", bodies.ALL)
def test_a_good_body_has_its_dialect_and_event(name: str) -> None:
    done = run(bodies.path_of(name))

    assert done.exit_code == 0
    assert done.stdout.startswith(f"{bodies.path_of(name)}: ok, ")
    assert done.stdout.count("\n") == 1


def test_what_is_said_of_a_good_body() -> None:
    path = bodies.path_of("chunking_completed")

    assert run(path).stdout == f"{path}: ok, chunking.completed (flat_step)\n"


def test_every_problem_is_listed_under_its_file(bad: Path) -> None:
    done = run(bad, bodies.path_of("task_started"))

    assert done.exit_code == 1
    first, *problems, last = done.stdout.splitlines()
    assert first == f"{bad}: 3 problems; a receiver refuses it"
    assert problems == [f"  {problem}" for problem in validate_webhook(bad.read_bytes())]
    assert last.endswith(": ok, task.started (envelope)")


def test_what_a_receiver_puts_up_with_is_still_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "odd.json"
    path.write_bytes(bodies.as_body({**bodies.payload("chunking_completed"), "progress_percent": 120}))

    done = run(path)

    assert done.exit_code == 1
    assert done.stdout.startswith(f"{path}: 1 problem; a receiver takes it as chunking.completed (flat_step)\n")


def test_stdin() -> None:
    assert run("-", stdin=bodies.body("task_started")).stdout == "-: ok, task.started (envelope)\n"
    done = run("-", stdin=b"")
    assert (done.exit_code, done.stdout) == (
        1,
        "-: 1 problem; a receiver refuses it\n  the body is empty; expected a JSON object\n",
    )


@pytest.mark.parametrize("body", [b"\xff\xfe", b"[" * 100_000, b'{"a":1,"a":2}', rb'{"a": "\ud800"}', b"null"])
def test_bytes_that_are_no_object(body: bytes) -> None:
    assert run("-", stdin=body).exit_code == 1
    assert json.loads(run("--json", "-", stdin=body).stdout)["ok"] is False


def test_a_file_that_is_missing_is_named_and_the_others_are_checked(bad: Path, tmp_path: Path) -> None:
    done = run(tmp_path / "gone.json", bodies.path_of("task_started"), tmp_path, bad)

    assert done.exit_code == 2
    assert f"cannot read {tmp_path / 'gone.json'}: No such file or directory" in done.stderr
    assert f"cannot read {tmp_path}: Is a directory" in done.stderr
    assert "ok, task.started" in done.stdout
    assert "3 problems" in done.stdout


def test_json_is_one_object_a_line(bad: Path) -> None:
    good = bodies.path_of("r3_stage_numbered")
    done = run("--json", good, bad)

    assert done.exit_code == 1
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {
            "file": str(good),
            "ok": True,
            "dialect": "stage_completed",
            "event": "stage.fact-generator.completed",
            "problems": [],
        },
        {
            "file": str(bad),
            "ok": False,
            "dialect": None,
            "event": None,
            "problems": validate_webhook(bad.read_bytes()),
        },
    ]


def test_no_file_is_bad_usage() -> None:
    assert run().exit_code == 2
