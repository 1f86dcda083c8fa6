"""`morag-client submit`, as a process of its own against a mock MoRAG of each release."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import commands
import pytest
import receiving
import servers
import terminals
from recording import Recorder

from morag_client.testing import MockMorag

KEY = "test-api-key"
TEXT = "# Tides\n\nThe tide is the rise of the sea. NOAA measures the tide.\n"
ID = r"[0-9a-f]{8}-[0-9a-f-]{27}"


@pytest.fixture
def morag() -> Iterator[MockMorag]:
    with MockMorag(speed=0) as mock:
        yield mock


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three documents, one of them in a folder, and a hidden one."""
    (tmp_path / "in" / ".git").mkdir(parents=True)
    for name in ("one.md", "two.md", "in/three.md", "in/.git/four.md"):
        (tmp_path / name).write_text(TEXT + name)
    return tmp_path


def submit(
    folder: Path, *arguments: str, url: str, key: str = KEY, **variables: str
) -> subprocess.CompletedProcess[str]:
    done = commands.run(
        folder, "submit", *arguments, secret=None, MORAG_API_URL=url, MORAG_API_KEY=key, COLUMNS="200", **variables
    )
    assert "Traceback" not in done.stderr
    return done


def objects(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def outcomes(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    return {found["file"]: found["outcome"] for found in objects(done) if "outcome" in found}


@pytest.mark.parametrize(
    ("arguments", "taken"),
    [
        (["one.md"], {"one.md"}),
        (["*.md"], {"one.md", "two.md"}),
        (["one.md", "*.md", "./one.md"], {"one.md", "two.md"}),
        (["**/*.md"], {"one.md", "two.md", "in/three.md"}),
        (["one.md", "in", "--recursive"], {"one.md", "in/three.md"}),
        ([".", "-r"], {"./one.md", "./two.md", "./in/three.md"}),
    ],
)
def test_files_patterns_and_folders_each_once(
    morag: MockMorag, folder: Path, arguments: list[str], taken: set[str]
) -> None:
    done = submit(folder, *arguments, "--json", url=morag.url)

    assert done.returncode == 0
    assert outcomes(done) == dict.fromkeys(taken, "taken")
    assert len({found["task_id"] for found in objects(done)}) == len(taken)


def test_what_cannot_be_sent_does_not_stop_the_others_and_is_named_at_the_end(morag: MockMorag, folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "large.md").write_bytes(b"x")
    (folder / "large.md").chmod(0)
    unreadable = {} if os.access(folder / "large.md", os.R_OK) else {"large.md": "permission denied"}
    wrong = {
        "nowhere.md": "no such file or directory",
        "in": "is a folder; --recursive takes what is in it",
        "pipe": "is no regular file",
        "*.pdf": "nothing matches it",
        **unreadable,
    }
    done = submit(folder, "one.md", *wrong, "two.md", url=morag.url)
    as_json = submit(folder, "one.md", *wrong, "two.md", "--json", url=morag.url)

    assert (done.returncode, as_json.returncode) == (1, 1)
    assert len(re.findall(rf"^submitted  {ID}  (one|two)\.md$", done.stdout, re.MULTILINE)) == 2
    assert f"2 of {2 + len(wrong)} were taken, {len(wrong)} failed" in done.stderr
    for name, why in wrong.items():
        assert f"error: {name}: {why}" in done.stderr
        assert f"\n  {name}: {why}\n" in done.stderr
    assert outcomes(as_json) == {"one.md": "taken", "two.md": "taken", **dict.fromkeys(wrong, "refused")}


def test_what_morag_refuses_does_not_stop_the_others(folder: Path) -> None:
    (folder / "broken.md").write_bytes(b"x" * 2_000_000)
    with MockMorag(speed=0, max_upload_bytes=1_000_000) as morag:
        done = submit(folder, "one.md", "broken.md", "two.md", "--concurrency", "1", url=morag.url)

    assert done.returncode == 1
    assert "2 of 3 were taken, 1 failed" in done.stderr
    assert "broken.md: MoRAG answered 413" in done.stderr


@pytest.mark.parametrize("profile", ["guide", "r1", "r2"])
def test_what_is_said_with_a_document_reaches_morag(folder: Path, profile: Any) -> None:
    with MockMorag(profile=profile, speed=0) as morag, Recorder() as hook:
        done = submit(
            folder, "one.md", "--metadata", "kind=report", "--metadata", "q=a=b", "--document-id", "doc-7",
            "--webhook-url", hook.url, "--wait", url=morag.url,
        )  # fmt: skip
        receiving.eventually(lambda: len(hook.payloads) >= 4)
        told = json.dumps(hook.payloads)

    assert done.returncode == 0
    assert re.search(rf"^completed  {ID}  one\.md", done.stdout, re.MULTILINE)
    assert "doc-7" in told
    if profile != "r2":
        assert '"kind": "report"' in told
        assert '"q": "a=b"' in told


def test_a_url_is_submitted_as_a_url(morag: MockMorag, folder: Path) -> None:
    with Recorder(answer=TEXT.encode()) as site:
        done = submit(folder, f"{site.base_url}/tides.md", "--wait", "--json", url=morag.url)

        assert [arrival.path for arrival in site.arrivals] == ["/tides.md"]
    taken, ended = objects(done)
    assert (done.returncode, taken["outcome"], ended["state"]) == (0, "taken", "completed")
    assert ended["file"] == f"{site.base_url}/tides.md"


def test_each_document_gets_a_signed_url_of_its_own_that_a_receiver_believes(morag: MockMorag, folder: Path) -> None:
    receiver = receiving.receiver_of(folder, secrets=None, signing_key="a key of tests")
    with servers.serving(receiver) as address:
        both = {"MORAG_SIGNING_KEY": "a key of tests", "MORAG_PUBLIC_URL": address}
        done = submit(folder, "*.md", "--correlation", "tenant=acme", "--wait", url=morag.url, **both)
        without = submit(folder, "one.md", "--wait", url=morag.url, **both)
        receiving.eventually(lambda: receiving.counts(folder)[0] == 42)

    found = [json.loads(text) for (text,) in receiving.query(folder, "SELECT correlation FROM webhook_events")]
    assert (done.returncode, without.returncode) == (0, 0)
    assert len({claims["ref"] for claims in found}) == 3
    assert sum(claims.get("tenant") == "acme" for claims in found) == 28
    assert done.stderr.count("warning: public_url leads to 127.0.0.1") == 1
    assert "morag-w1." not in done.stdout + done.stderr


def test_waiting_tells_success_from_failure(morag: MockMorag, folder: Path) -> None:
    (folder / "bad.xyz").write_text("of no format")
    done = submit(folder, "one.md", "bad.xyz", "--wait", url=morag.url)
    as_json = submit(folder, "one.md", "bad.xyz", "--wait", "--json", url=morag.url)

    assert (done.returncode, as_json.returncode) == (1, 1)
    assert re.search(rf"^failed     {ID}  bad\.xyz .*Unsupported file format", done.stdout, re.MULTILINE)
    assert re.search(rf"^completed  {ID}  one\.md", done.stdout, re.MULTILINE)
    assert "2 tasks: 1 completed, 1 failed" in done.stderr
    ended = {found["file"]: found["state"] for found in objects(as_json) if "state" in found}
    assert ended == {"one.md": "completed", "bad.xyz": "failed"}


def test_a_task_that_takes_too_long_is_a_failure_that_says_so(folder: Path) -> None:
    with MockMorag(speed=20) as morag:
        done = submit(folder, "one.md", "--wait", "--timeout", "0.3", url=morag.url)

    assert done.returncode == 1
    assert "1 task has not ended within 0.3 s" in done.stderr
    assert re.search(rf"morag-client watch {ID}\n", done.stderr)


def test_a_release_without_tasks_is_refused_in_one_line_before_anything_is_sent(folder: Path) -> None:
    with MockMorag(profile="r3") as morag:
        for arguments in (["one.md"], ["one.md", "two.md", "--wait"]):
            done = submit(folder, *arguments, url=morag.url)
            assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
            assert "release r3, which has no tasks" in done.stderr


def test_what_is_wrong_with_all_is_said_once(morag: MockMorag, folder: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        away = f"http://127.0.0.1:{probe.getsockname()[1]}"
        nobody = submit(folder, "*.md", url=away)
        known = submit(folder, "*.md", "--concurrency", "1", "--api-version", "r1", url=away)
    wrong_key = submit(folder, "*.md", url=morag.url, key="wrong")
    wrong_url = submit(folder, "*.md", url=f"{morag.url}/elsewhere")

    for done, says in (
        (nobody, "is it running? Set --api-url or MORAG_API_URL"),
        (wrong_key, "set MORAG_API_KEY"),
        (wrong_url, "--api-url or MORAG_API_URL"),
    ):
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert says in done.stderr
    assert known.returncode == 1
    assert "0 of 2 were taken, 1 failed, 1 not sent" in known.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["one.md", "two.md", "--document-id", "d"], "is of one document, these are 2"),
        (["one.md", "--source-type", "paper"], "expected document, audio"),
        (["one.md", "--webhook-url", "http://x/", "--correlation", "a=1"], "leave out one"),
        (["one.md", "--correlation", "a=1"], "MORAG_SIGNING_KEY"),
        (["one.md", "--metadata", "a"], "no KEY=VALUE"),
        (["one.md", "--timeout", "3"], "goes with --wait"),
        (["one.md", "--api-version", "r9"], "choose one of"),
        (["one.md", "--wait", "--database-url", "sqlite:///none.db"], "there is no inbox at"),
        (["one.md", "--concurrency", "0"], "--concurrency"),
        ([], "Missing argument"),
    ],
)
def test_bad_usage(morag: MockMorag, folder: Path, arguments: list[str], says: str) -> None:
    done = submit(folder, *arguments, url=morag.url)

    assert (done.returncode, done.stdout) == (2, "")
    assert says in " ".join(done.stderr.replace("│", " ").split())


def test_many_files_a_few_at_a_time(folder: Path) -> None:
    (folder / "many").mkdir()
    for number in range(60):
        (folder / "many" / f"{number:02}.md").write_text(TEXT)
    with MockMorag(speed=0) as morag:
        done = submit(folder, "many", "-r", "--wait", "--concurrency", "3", url=morag.url)

    assert done.returncode == 0
    assert "60 of 60 were taken" in done.stderr
    assert "60 tasks: 60 completed" in done.stderr


def test_a_name_that_is_no_text(morag: MockMorag, folder: Path) -> None:
    (folder / os.fsdecode(b"na\xefve.md")).write_text(TEXT)
    done = submit(folder, "na*.md", "--json", url=morag.url)

    assert (done.returncode, outcomes(done)) == (0, {"na?ve.md": "taken"})


@pytest.mark.parametrize("columns", [80, 120])
def test_a_terminal_gets_bars_that_are_gone_at_the_end(folder: Path, columns: int) -> None:
    with MockMorag(profile="guide", speed=0.4) as morag:
        given = {"MORAG_API_URL": morag.url, "MORAG_API_KEY": KEY}
        with terminals.opened(folder, "submit", "*.md", "--wait", columns=columns, **given) as terminal:
            terminal.until(r"• (one|two)\.md +━+.* %")
            assert terminal.end() == 0

    assert terminal.shown.count("\x1b[?25l") == terminal.shown.count("\x1b[?25h") == 1
    assert len(re.findall(rf"^completed  {ID}  (?:one|two)\.md", terminal.screen, re.MULTILINE)) == 2
    assert "━" not in terminal.screen
    assert max(len(line) for line in re.split(r"[\r\n]+", terminal.plain) if "━" in line) < columns


def test_ctrl_c_says_what_goes_on_and_leaves_the_terminal_as_it_was(folder: Path) -> None:
    with MockMorag(speed=30) as morag:
        given = {"MORAG_API_URL": morag.url, "MORAG_API_KEY": KEY}
        with terminals.opened(folder, "submit", "*.md", "--wait", "--api-url", morag.url, **given) as terminal:
            terminal.until(r"• (one|two)\.md +━+.* %")
            terminal.press(b"\x03")
            assert terminal.end() == 130

    assert terminal.shown.count("\x1b[?25l") == terminal.shown.count("\x1b[?25h") == 1
    assert "━" not in terminal.screen
    goes_on = rf"interrupted\. They go on at MoRAG; to see how: morag-client watch {ID} {ID} --api-url http"
    assert re.search(goes_on, terminal.screen)
    assert "Traceback" not in terminal.shown


def test_ctrl_c_in_mid_upload_says_what_was_not_sent(folder: Path) -> None:
    with (folder / "large.pdf").open("wb") as file:
        file.truncate(3_000_000_000)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        given = {"MORAG_API_URL": f"http://127.0.0.1:{deaf.getsockname()[1]}", "MORAG_API_KEY": KEY}
        arguments = ("submit", "large.pdf", "one.md", "--concurrency", "1", "--api-version", "r1")
        with terminals.opened(folder, *arguments, **given) as terminal:
            terminal.until(r"large\.pdf +━+ +0 % +[\d.]+ \wB of 3\.0 GB")
            terminal.press(b"\x03")
            assert terminal.end() == 130

    assert terminal.shown.rpartition("\x1b[?25h")[1]
    assert "0 of 2 were taken, 2 not sent" in terminal.plain
    assert "  large.pdf: interrupted" in terminal.plain


def test_for_machines_there_is_a_line_for_each_document_also_where_none_was_sent(folder: Path) -> None:
    done = submit(folder, "one.md", "two.md", "--json", url="http://127.0.0.1:9")

    assert done.returncode == 1
    assert outcomes(done) == {"one.md": "unsent", "two.md": "unsent"}
    assert "could not be reached" in done.stderr
