"""The installed command, as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import bodies
import pytest

COMMAND = Path(sys.executable).with_name("morag-client")


def run(*arguments: object, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MORAG_")}
    done = subprocess.run(
        [str(COMMAND), *map(str, arguments)], input=stdin, capture_output=True, env=inherited | environment, check=False
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    )


def test_version() -> None:
    done = run("--version")

    assert (done.returncode, done.stdout) == (0, f"morag-client {version('morag-client')}\n")


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_names_the_commands_and_the_exit_codes(option: str) -> None:
    done = run(option)

    assert done.returncode == 0
    for word in ("sign", "verify", "validate", "--version", "Exit codes"):
        assert word in done.stdout


def test_no_command_shows_the_help_and_a_wrong_one_is_bad_usage() -> None:
    assert "Usage" in run().stdout + run().stderr
    done = run("no-such-command")
    assert done.returncode == 2
    assert "no-such-command" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        *(["events", "--task"], ["events", "--name"], ["tasks"], ["tasks", "--document"], ["replay", "--task"]),
        *(
            ["replay", "1", "--why"],
            ["dead-letters", "list", "--handler"],
            ["serve"],
            ["db", "check", "--database-url"],
        ),
    ],
)
def test_an_argument_that_is_no_text_is_bad_usage(arguments: list[str], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/morag.db"
    assert run("db", "upgrade", MORAG_DATABASE_URL=url).returncode == 0

    done = run(*arguments, "a\udcff", MORAG_DATABASE_URL=url)

    assert done.returncode == 2
    assert "not UTF-8" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [["events"], ["tasks"], ["dead-letters", "list"], ["quarantine", "list"]])
def test_a_limit_that_no_database_takes_is_bad_usage(command: list[str], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/morag.db"
    assert run("db", "upgrade", MORAG_DATABASE_URL=url).returncode == 0

    assert run(*command, "--limit", 1_000_000, MORAG_DATABASE_URL=url).returncode == 0
    done = run(*command, "--limit", 10**20, MORAG_DATABASE_URL=url)

    assert done.returncode == 2
    assert "--limit" in done.stderr


def test_sign_and_verify_agree_over_a_pipe() -> None:
    body = bodies.body("task_started")
    signature = run("sign", stdin=body, MORAG_WEBHOOK_SECRET="new,old").stdout.strip()

    good = run("verify", "-", "--signature", signature, stdin=body, MORAG_WEBHOOK_SECRET="other,new")
    bad = run("verify", "-", "--signature", signature, stdin=body, MORAG_WEBHOOK_SECRET="other")
    unusable = run("verify", "-", "--signature", signature, stdin=body)

    assert [done.returncode for done in (good, bad, unusable)] == [0, 1, 2]
    assert "does not match" in bad.stderr


def test_a_secret_of_bytes_that_are_no_utf8() -> None:
    secret = os.fsdecode(b"\xff\xfe")

    signature = run("sign", stdin=b"{}", MORAG_WEBHOOK_SECRET=secret).stdout.strip()

    assert run("verify", "-", "--signature", signature, stdin=b"{}", MORAG_WEBHOOK_SECRET=secret).returncode == 0


def test_validate_in_a_latin_terminal(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"\xff\xc3\xbc.json")
    odd.write_bytes(bodies.body("task_started"))

    done = run("validate", odd, bodies.path_of("task_failed"), PYTHONIOENCODING="latin-1:replace")

    assert done.returncode == 0
    assert done.stdout.count(": ok, ") == 2


def test_without_its_extra_the_command_says_how_to_get_it() -> None:
    script = "import sys; sys.modules['typer'] = None; from morag_client.cli import main; main()"

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'morag-client[cli]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_help_needs_neither_database_nor_server() -> None:
    script = (
        "import sys; from morag_client.cli.application import app; "
        "print(*sorted({'sqlalchemy', 'starlette', 'uvicorn', 'httpx2', 'alembic'} & sys.modules.keys()))"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == ""
