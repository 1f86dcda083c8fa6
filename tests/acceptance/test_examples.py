"""Every example and every piece of code in the documentation works as it stands."""

from __future__ import annotations

import ast
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import mailboxes
import others
import pytest

from morag_client import parse_event, verify_signature

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "morag_client"]
EXAMPLES = sorted(path for path in (ROOT / "examples").iterdir() if path.is_dir())


def test_every_example_has_a_test():
    names = ["01_first_handler", "02_fastapi", "03_exactly_once_money", "04_tests"]
    names += ["05_forwarding", "06_mail_on_failure", "07_live_page", "08_login", "09_batch_report"]
    names += ["10_submit_and_stream", "11_next_job", "12_recover_after_downtime"]
    assert [path.name for path in EXAMPLES] == names


def test_first_handler(tmp_path):
    # given the example, served as its README says
    with served([*COMMAND, "serve", "app:receiver", "--port", "{port}"], EXAMPLES[0], tmp_path) as (url, process):
        # when a pipeline's webhooks arrive, and those of one that fails
        emit(f"{url}/webhook")
        emit(f"{url}/webhook", "--fail-at", "chunking")
        finish(process)
    # then its handlers have printed their lines
    printed = (tmp_path / "output").read_text()
    assert re.search(r"^\S+: \d+ chunks$", printed, re.MULTILINE)
    assert re.search(r"is done: \d+ embeddings$", printed, re.MULTILINE)
    assert "chunking.failed" in printed
    assert "task.failed" in printed


def test_fastapi(tmp_path):
    command = [sys.executable, "-m", "uvicorn", "app:app", "--port", "{port}"]
    with served(command, EXAMPLES[1], tmp_path) as (url, process):
        emit(f"{url}/morag/webhook", "--document-id", "report-7")
        deadline = time.monotonic() + 10
        while "report-7" not in httpx2.get(f"{url}/finished").json():
            assert time.monotonic() < deadline, "the handler did not run"
            time.sleep(0.05)
        finish(process)


def test_exactly_once_money(tmp_path, database):
    command = [*COMMAND, "serve", "app:receiver", "--port", "{port}"]
    variables = {"MORAG_DATABASE_URL": database.url, "MORAG_LEASE": "1"}
    # given the tables, and a server that is killed after a few documents
    assert owed(database) == (0, 0, 0)
    with served(command, EXAMPLES[2], tmp_path, **variables) as (url, process):
        for _ in range(3):
            emit(f"{url}/webhook")
        process.kill()
        process.wait(10)
    # when it is served again, and gets another
    with served(command, EXAMPLES[2], tmp_path, **variables) as (url, process):
        emit(f"{url}/webhook")
        deadline = time.monotonic() + 10
        while owed(database)[0] < 4:
            assert time.monotonic() < deadline, "not all was charged"
            time.sleep(0.1)
        finish(process)
    # then each was charged once
    charges, charged, owes = owed(database)
    assert charges == 4
    assert 0 < charged == owes


@pytest.mark.parametrize("mode", ["asgi", "live"])
def test_the_tests_to_copy(mode):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--morag-mode={mode}"],
        cwd=EXAMPLES[3],
        env={key: value for key, value in os.environ.items() if not key.startswith("PYTEST")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "7 passed" in done.stdout, done.stdout + done.stderr


def test_forwarding(tmp_path):
    # given n8n, as the example expects it
    service = others.Service()
    command = [*COMMAND, "serve", "app:receiver", "--port", "{port}"]
    with others.running(service) as n8n:
        variables = {"N8N_URL": f"{n8n}/webhook/morag-webhook"}
        with served(command, EXAMPLES[4], tmp_path, **variables) as (url, process):
            # when a pipeline fails
            emit(f"{url}/webhook", "--fail-at", "chunking")
            finish(process)
    # then n8n has all of it, signed
    names = [parse_event(posted.body).name for posted in service.posted]
    assert {"task.started", "chunking.failed", "task.failed"} <= set(names)
    for posted in service.posted:
        assert posted.path == "/webhook/morag-webhook"
        verify_signature(posted.body, posted.headers["x-morag-signature"], "replace-me-too")


def test_mail_on_failure(tmp_path):
    # given a mail server that is busy at first
    box = mailboxes.Mailbox(refusals=2)
    command = [*COMMAND, "serve", "app:receiver", "--port", "{port}"]
    with mailboxes.mail_server(box) as server:
        variables = {"SMTP_SERVER": server, "MORAG_RETRY_FIRST": "0"}
        with served(command, EXAMPLES[5], tmp_path, **variables) as (url, process):
            # when a pipeline fails whose document is named as if it were a header of a mail
            emit(f"{url}/webhook", "--fail-at", "chunking", "--document-id", "report\r\nBcc: all@example.com")
            deadline = time.monotonic() + 20
            while len(box.mails) < 2:
                assert time.monotonic() < deadline, (tmp_path / "output").read_text()
                time.sleep(0.05)
            finish(process)
    # then there is a mail for each failure, once
    assert sorted(mail["Subject"].partition(",")[0] for mail in box.mails) == [
        "MoRAG: chunking.failed",
        "MoRAG: task.failed",
    ]
    assert box.refused == 2
    assert len({mail["Message-ID"] for mail in box.mails}) == 2
    for mail in box.mails:
        assert mail["To"] == "operations@example.com"
        assert mail["Bcc"] is None
        assert "report Bcc: all@example.com" in mail["Subject"]
        assert "MoRAG does not say why" not in mail.get_content()


def owed(database) -> tuple[int, ...]:
    """How many charges there are, of how many cents, and how many cents are owed."""
    done = subprocess.run(
        [sys.executable, "app.py"],
        cwd=EXAMPLES[2],
        env={**os.environ, "MORAG_DATABASE_URL": database.url},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return tuple(int(number) for number in re.findall(r"\d+", done.stdout))


def code_blocks() -> list[object]:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [
        pytest.param(code, id=f"{page.relative_to(ROOT)}:{number}")
        for page in pages
        for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL), 1)
    ]


@pytest.mark.parametrize("code", code_blocks())
def test_code_in_the_documentation_is_python_and_its_names_exist(code):
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("morag_client"):
            exec(compile(ast.Module([node], []), "documentation", "exec"), {})  # noqa: S102  # our own imports
    assert tree.body


def test_the_ten_lines_of_the_readme(tmp_path):
    # given the first program of the README, as it stands there
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert code is not None
    assert len([line for line in code[1].splitlines() if line.strip()]) <= 10
    (tmp_path / "app.py").write_text(code[1])
    # when it is served and gets a pipeline's webhooks
    with served([*COMMAND, "serve", "app:receiver", "--port", "{port}"], tmp_path, tmp_path) as (url, process):
        emit(f"{url}/webhook")
        finish(process)
    # then the handler has run
    assert re.search(r": \d+ chunks$", (tmp_path / "output").read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("forward.md", ["forward:hooks.slack.com", "forward:search.example.com", "forward:n8n.internal:5678"]),
        ("n8n.md", ["forward:n8n.internal:5678"]),
        ("zapier.md", ["forward:hooks.zapier.com"]),
    ],
)
def test_what_the_documentation_passes_on_is_registered(page, names, tmp_path, monkeypatch):
    # given the page's first program, at most ten lines of it
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs/how-to" / page).read_text(), re.DOTALL)
    assert code is not None
    assert len([line for line in code[1].splitlines() if line.strip()]) <= 10
    monkeypatch.chdir(tmp_path)
    for name in re.findall(r'os\.environ\["(\w+)"\]', code[1]):
        monkeypatch.setenv(name, f"https://hooks.{name.split('_')[0].lower()}.com/x" if "URL" in name else "a secret")
    # when it is run
    given: dict[str, object] = {}
    exec(compile(code[1], page, "exec"), given)  # noqa: S102  # our own page
    # then all of it is registered, and nothing was asked of anybody
    assert [name for name in given["receiver"].handler_names if name.startswith("forward:")] == names


@pytest.mark.parametrize(
    ("page", "passed"),
    [("how-to/test-handlers.md", 2), ("tutorial/test-your-integration.md", 5), ("reference/fixtures.md", 2)],
)
def test_the_tests_in_the_documentation_pass(page, passed, tmp_path):
    # given the page's code: the tests, and what its first line says is to be put into another file
    code = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)
    (tmp_path / "app.py").write_text("")
    for number, block in enumerate(code):
        named = re.match(r"# (\w+\.py)\n", block)
        if named or "def test_" in block:
            (tmp_path / (named[1] if named else f"test_{number}.py")).write_text(block)
    # when they are run
    options = ["-q", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto", "-o", "pythonpath=."]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    # then all pass
    assert f"{passed} passed" in done.stdout, done.stdout + done.stderr


@contextlib.contextmanager
def served(
    command: list[str], folder: Path, tmp_path: Path, **variables: str
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MORAG_")}
    environment |= {"MORAG_DATABASE_URL": f"sqlite:///{tmp_path}/inbox.db", "PYTHONUNBUFFERED": "1"}
    environment |= variables
    with (tmp_path / "output").open("wb") as output:
        process = subprocess.Popen(
            [part.format(port=port) for part in command], cwd=folder, env=environment, stdout=output, stderr=output
        )
        try:
            await_ready(f"http://127.0.0.1:{port}", process, tmp_path / "output")
            yield f"http://127.0.0.1:{port}", process
        finally:
            process.kill()
            process.wait()


def await_ready(url: str, process: subprocess.Popen[bytes], output: Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        assert process.poll() is None, output.read_text()
        assert time.monotonic() < deadline, output.read_text()
        with contextlib.suppress(httpx2.TransportError):
            httpx2.get(url)
            return
        time.sleep(0.05)


def emit(url: str, *options: str) -> None:
    done = subprocess.run(
        [*COMMAND, "emit", "--url", url, "--secret", "replace-me", *options],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def finish(process: subprocess.Popen[bytes]) -> None:
    """An orderly end waits for the handlers."""
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=20)
