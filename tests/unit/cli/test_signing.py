"""`morag-client sign` and `verify`."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import pytest
from typer.testing import CliRunner

from morag_client.cli.application import app

BODY = b'{"event_type": "task_started"}\n'
GOOD = "sha256=" + hmac.new(b"new", BODY, hashlib.sha256).hexdigest()


@pytest.fixture
def body(tmp_path: Path) -> str:
    path = tmp_path / "a body.json"
    path.write_bytes(BODY)
    return str(path)


@pytest.fixture(autouse=True)
def run(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MORAG_WEBHOOK_SECRET", raising=False)
    return CliRunner().invoke


def test_sign_prints_the_header_value_alone(run, body: str) -> None:
    done = run(app, ["sign", body, "--secret", "new"])

    assert (done.exit_code, done.stdout) == (0, GOOD + "\n")


@pytest.mark.parametrize("arguments", [["sign", "-"], ["sign"]])
def test_sign_reads_stdin(run, arguments: list[str]) -> None:
    done = run(app, [*arguments, "--secret", "new"], input=BODY)

    assert (done.exit_code, done.stdout) == (0, GOOD + "\n")


def test_bytes_are_taken_as_they_are(run, tmp_path: Path) -> None:
    raw = bytes(range(256)) + b"\r\n"
    (tmp_path / "raw").write_bytes(raw)

    done = run(app, ["sign", str(tmp_path / "raw"), "--secret", "new"])

    assert done.stdout.strip() == "sha256=" + hmac.new(b"new", raw, hashlib.sha256).hexdigest()


@pytest.mark.parametrize("secret", ["new", "new,old", " new , old"])
def test_sign_uses_the_first_secret_of_the_environment(run, body: str, secret: str) -> None:
    done = run(app, ["sign", body], env={"MORAG_WEBHOOK_SECRET": secret})

    assert (done.exit_code, done.stdout) == (0, GOOD + "\n")


@pytest.mark.parametrize("secret", ["new", "old,new", "new,old"])
def test_verify_uses_any_secret(run, body: str, secret: str) -> None:
    for given in ({"env": {"MORAG_WEBHOOK_SECRET": secret}}, {"input": None}):
        option = [] if "env" in given else ["--secret", secret]
        done = run(app, ["verify", body, "--signature", GOOD, *option], **given)

        assert (done.exit_code, done.stderr) == (0, "")
        assert done.stdout.startswith("good")


def test_verify_reads_stdin(run) -> None:
    assert run(app, ["verify", "-", "--signature", GOOD, "--secret", "new"], input=BODY).exit_code == 0
    assert run(app, ["verify", "-", "--signature", GOOD, "--secret", "new"], input=BODY[:-1]).exit_code == 1


@pytest.mark.parametrize(
    ("signature", "reason"),
    [
        (GOOD[:-1], "has 63 digits instead of 64"),
        (GOOD.upper(), "does not start with sha256="),
        (f" {GOOD}", "does not start with sha256="),
        ("sha256=" + "0" * 64, "does not match"),
        ("", "is empty"),
    ],
)
def test_verify_says_why_a_signature_is_bad(run, body: str, signature: str, reason: str) -> None:
    done = run(app, ["verify", body, "--signature", signature, "--secret", "new"])

    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("bad: X-MoRAG-Signature ")
    assert reason in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["sign", "BODY"],
        ["sign", "BODY", "--secret", ""],
        ["sign", "BODY", "--secret", "  "],
        ["sign", "BODY", "--secret", "new,"],
        ["sign", "missing.json", "--secret", "new"],
        ["sign", ".", "--secret", "new"],
        ["verify", "BODY", "--secret", "new"],
        ["verify", "BODY", "--signature", GOOD],
        ["verify", "BODY", "--signature", GOOD, "--secret", ","],
        ["verify", "--signature", GOOD, "--secret", "new"],
        ["verify", "missing.json", "--signature", GOOD, "--secret", "new"],
        ["verify", "BODY", "--signature", GOOD, "--secret", "new", "--wrong"],
    ],
)
def test_bad_usage_is_exit_code_2(run, body: str, arguments: list[str]) -> None:
    done = run(app, [body if argument == "BODY" else argument for argument in arguments])

    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr


def test_the_secret_is_never_shown(run, body: str) -> None:
    for arguments in (["sign", "--help"], ["verify", body, "--signature", "x"], ["sign", "missing.json"]):
        done = run(app, arguments, env={"MORAG_WEBHOOK_SECRET": "very-private"})

        assert "very-private" not in done.output
