"""`morag-client watch`, by asking a mock MoRAG of each release, and by the inbox of a receiver in another process."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import commands
import databases
import pytest
import receiving
import terminals
from recording import Recorder

from morag_client import AsyncMoragClient, MoragClient
from morag_client.cli.following import ByInbox, Followed, has_ended
from morag_client.cli.inboxes import opened_inbox
from morag_client.cli.task_bars import TaskBars
from morag_client.progress.state import StepState, TaskState
from morag_client.progress.tasks import TaskQueries
from morag_client.testing import MockMorag

KEY = "test-api-key"
SIGNING_KEY = "a key of tests"
TEXT = "# Tides\n\nThe tide is the rise of the sea. NOAA measures the tide.\n"
STEPS = [
    "markdown_conversion",
    "metadata_extraction",
    "content_processing",
    "chunking",
    "graph_extraction",
    "ingestion",
]
APP = """
from morag_client import Receiver, on

@on("*")
def look(event): ...

receiver = Receiver()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tides.md").write_text(TEXT)
    (tmp_path / "bad.xyz").write_text("of no format")
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def ingest(morag: MockMorag, folder: Path, name: str = "tides.md", webhook_url: str | None = None) -> str:
    with MoragClient(base_url=morag.url, api_key=KEY) as client:
        return client.ingest_file(folder / name, webhook_url=webhook_url).task_id


def watch(folder: Path, *arguments: str, url: str, key: str = KEY, **more: str) -> subprocess.CompletedProcess[str]:
    given = {"MORAG_API_URL": url, "MORAG_API_KEY": key, "COLUMNS": "200", **more}
    done = commands.run(folder, "watch", *arguments, secret=None, **given)
    assert "Traceback" not in done.stderr
    return done


def objects(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("profile", ["guide", "r1", "r2"])
def test_asking_tells_every_change_and_the_ends(folder: Path, profile: Any) -> None:
    with MockMorag(profile=profile, speed=2) as morag:
        good, bad = ingest(morag, folder), ingest(morag, folder, "bad.xyz")
        as_json = watch(folder, good, bad, "--json", url=morag.url)
        well = watch(folder, good, url=morag.url)

    changes = [told for told in objects(as_json) if told["task_id"] == good]
    assert (as_json.returncode, well.returncode) == (1, 0)
    assert [told["state"] for told in changes[-2:]] == ["running", "completed"]
    assert [told["progress"] for told in changes] == sorted(told["progress"] for told in changes)
    assert re.fullmatch(rf"completed  {good}(  [\d.]+ s)?\n", well.stdout)
    [failed] = [told for told in objects(as_json) if told["task_id"] == bad and told["state"] == "failed"]
    assert "Unsupported file format" in failed["error"]
    assert "2 tasks: 1 completed, 1 failed" in as_json.stderr


@pytest.fixture(params=["with handlers", "without"])
def server(request: pytest.FixtureRequest, folder: Path, database: databases.TestDatabase) -> Iterator[commands.Served]:
    """A receiver in a process of its own; with handlers it works states out, without it only stores."""
    app = ["app:receiver"] if request.param == "with handlers" else []
    given = {"MORAG_SIGNING_KEY": SIGNING_KEY, "MORAG_DATABASE_URL": database.url}
    with commands.served(folder, *app, secret=None, **given) as served:
        yield served
        served.stop()


def signed_url(folder: Path, served: commands.Served) -> str:
    given = {"MORAG_SIGNING_KEY": SIGNING_KEY, "MORAG_PUBLIC_URL": served.url}
    return commands.run(folder, "webhook-url", secret=None, **given).stdout.strip()


def test_the_inbox_of_another_process_tells_of_steps(
    folder: Path, server: commands.Served, database: databases.TestDatabase
) -> None:
    with MockMorag(speed=2) as morag:
        good = ingest(morag, folder, webhook_url=signed_url(folder, server))
        bad = ingest(morag, folder, "bad.xyz", signed_url(folder, server))
        done = watch(folder, good, bad, "--json", "--database-url", database.url, url="http://127.0.0.1:9")

    last = {told["task_id"]: told for told in objects(done)}
    assert done.returncode == 1
    assert (last[good]["state"], last[bad]["state"]) == ("completed", "failed")
    assert sorted(last[good]["steps"]) == sorted(STEPS)
    assert {step["status"] for step in last[good]["steps"].values()} == {"completed"}
    assert sum(told["task_id"] == good for told in objects(done)) >= 3


def test_a_terminal_shows_the_steps_of_a_task(folder: Path) -> None:
    database = receiving.url_of(folder)
    given = {"MORAG_SIGNING_KEY": SIGNING_KEY, "MORAG_DATABASE_URL": database}
    with commands.served(folder, "app:receiver", secret=None, **given) as served, MockMorag(speed=1.5) as morag:
        task_id = ingest(morag, folder, webhook_url=signed_url(folder, served))
        with terminals.opened(folder, "watch", task_id, columns=80, MORAG_DATABASE_URL=database) as terminal:
            terminal.until(r"✓ markdown_conversion +[\d.]+ s")
            terminal.until(r"• content_processing +started")
            assert terminal.end() == 0
        served.stop()

    assert terminal.shown.count("\x1b[?25l") == terminal.shown.count("\x1b[?25h") == 1
    assert re.fullmatch(rf"completed  {task_id}  [\d.]+ s\n*", terminal.screen)


def test_all_tasks_of_an_inbox_until_ctrl_c(folder: Path) -> None:
    database = receiving.url_of(folder)
    given = {"MORAG_SIGNING_KEY": SIGNING_KEY, "MORAG_DATABASE_URL": database}
    with commands.served(folder, "app:receiver", secret=None, **given) as served, MockMorag(speed=0) as morag:
        old = ingest(morag, folder, webhook_url=signed_url(folder, served))
        receiving.eventually(lambda: receiving.query(folder, "SELECT 1 FROM webhook_tasks WHERE state = 'completed'"))
        with terminals.opened(folder, "watch", "--all", columns=100, MORAG_DATABASE_URL=database) as terminal:
            terminal.until("No task is under way")
            new = ingest(morag, folder, webhook_url=signed_url(folder, served))
            terminal.until(rf"completed  {new}")
            terminal.press(b"\x03")
            assert terminal.end() == 130
        served.stop()

    assert old not in terminal.plain
    assert "interrupted" in terminal.screen
    assert "━" not in terminal.screen
    assert terminal.shown.count("\x1b[?25l") == terminal.shown.count("\x1b[?25h") == 1


def test_all_tasks_that_morag_is_at(folder: Path) -> None:
    with MockMorag(speed=1) as morag:
        task_id = ingest(morag, folder)
        done = watch(folder, "--all", "--timeout", "7", "--json", url=morag.url)

    assert done.returncode == 0
    assert [(told["task_id"], told["state"]) for told in objects(done)][-1] == (task_id, "completed")


def test_a_timeout_is_a_failure_that_says_how_to_go_on(folder: Path) -> None:
    with MockMorag(speed=30) as morag:
        task_id = ingest(morag, folder)
        done = watch(folder, task_id, "--timeout", "0.5", "--api-version", "guide", url=morag.url)
        nothing = watch(folder, task_id, "--timeout", "0", url=morag.url)

    assert (done.returncode, nothing.returncode) == (1, 1)
    assert "1 task has not ended within 0.5 s. It goes on at MoRAG" in done.stderr
    assert f"morag-client watch {task_id} --api-version guide" in done.stderr


def test_ctrl_c_says_what_is_under_way(folder: Path) -> None:
    with MockMorag(speed=30) as morag:
        ids = [ingest(morag, folder) for _ in range(6)]
        given = {"MORAG_API_URL": morag.url, "MORAG_API_KEY": KEY}
        with terminals.opened(folder, "watch", *ids, columns=80, lines=8, **given) as terminal:
            terminal.until(r"6 tasks: 6 under way")
            terminal.press(b"\x03")
            assert terminal.end() == 130

    assert f"They go on at MoRAG; to see how: morag-client watch {' '.join(ids)}" in terminal.screen
    assert "━" not in terminal.screen
    assert terminal.shown.count("\x1b[?25l") == terminal.shown.count("\x1b[?25h") == 1


def test_a_release_that_cannot_be_asked_needs_an_inbox(folder: Path) -> None:
    with MockMorag(profile="r3") as morag:
        done = watch(folder, "t", url=morag.url)

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "--database-url" in done.stderr


def test_r3_is_followed_by_the_ref_of_its_url(folder: Path) -> None:
    database = receiving.url_of(folder)
    given = {"MORAG_SIGNING_KEY": SIGNING_KEY, "MORAG_DATABASE_URL": database}
    with commands.served(folder, "app:receiver", secret=None, **given) as served:
        with MockMorag(profile="r3", speed=0) as morag, MoragClient(base_url=morag.url, api_key=KEY) as client:
            url = signed_url(folder, served)
            client.stages.chain(["markdown-conversion", "chunker"], folder / "tides.md", webhook_url=url)
            receiving.eventually(lambda: receiving.query(folder, "SELECT 1 FROM webhook_tasks WHERE state='completed'"))
            [(claims,)] = receiving.query(folder, "SELECT correlation FROM webhook_tasks")
            ref = json.loads(claims)["ref"]
            done = watch(folder, ref, "--json", url=morag.url, MORAG_DATABASE_URL=database)
        served.stop()

    assert done.returncode == 0
    assert objects(done)[-1]["state"] == "completed"


def test_what_goes_wrong_is_one_line_that_says_what_to_do(folder: Path) -> None:
    with socket.socket() as probe, MockMorag() as morag:
        probe.bind(("127.0.0.1", 0))
        away = f"http://127.0.0.1:{probe.getsockname()[1]}"
        for done, says in (
            (watch(folder, "t", url=away), "is it running? Set --api-url"),
            (watch(folder, "t", "--api-version", "r1", url=away), "is it running? Set --api-url"),
            (watch(folder, "t", url=morag.url, key="wrong"), "set MORAG_API_KEY"),
            (watch(folder, "t", url=f"{morag.url}/elsewhere"), "--api-url or MORAG_API_URL"),
        ):
            assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
            assert says in done.stderr
    for arguments in ([], ["t", "--all"], ["t", "--database-url", "sqlite:///none.db"], ["t", "--timeout", "-1"]):
        assert watch(folder, *arguments, url=away).returncode == 2


def test_a_morag_that_is_away_for_a_while_is_waited_for_with_a_word(folder: Path) -> None:
    answer = {"active_tasks": [], "total_count": 0, "task_id": "t", "status": "completed", "progress": 1.0}
    with Recorder(200, 200, *[503] * 8, 200, answer=json.dumps(answer).encode()) as recorder:
        done = watch(folder, "t", "u", url=recorder.base_url)

    assert done.returncode == 0
    assert sorted(done.stdout.split()[::2]) == ["completed", "completed"]
    assert done.stderr.count("warning: how task") == 1


def test_an_end_from_outside_leaves_the_terminal_as_it_was_too(folder: Path) -> None:
    with MockMorag(speed=30) as morag:
        task_id = ingest(morag, folder)
        given = {"MORAG_API_URL": morag.url, "MORAG_API_KEY": KEY}
        with terminals.opened(folder, "watch", task_id, columns=80, **given) as terminal:
            terminal.until(r"• \S+ +[━╸]+")
            terminal.signal(signal.SIGTERM)
            assert terminal.end() == 130

    assert "It goes on at MoRAG" in terminal.screen
    assert "━" not in terminal.screen
    assert terminal.shown.count("\x1b[?25l") == terminal.shown.count("\x1b[?25h") == 1


async def test_a_task_whose_webhooks_were_lost_ends_by_morags_own_account(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MORAG_DATABASE_URL", receiving.url_of(folder))
    async with receiving.working(folder):
        pass
    with MockMorag(speed=0) as morag:
        task_id = ingest(morag, folder)
        assert morag.wait(task_id, timeout_seconds=20)
        async with (
            opened_inbox(None) as inbox,
            AsyncMoragClient(base_url=morag.url, api_key=KEY) as client,
        ):
            states = [state async for state in ByInbox(TaskQueries(inbox), client, silence=0.3).follow(task_id)]

    assert [(state.state, state.progress) for state in states] == [("completed", 100.0)]


def bars(states: dict[str, TaskState], *, height: int, width: int = 79, is_ascii: bool = False) -> list[str]:
    followed = Followed(None)
    followed.names = {task_id: f"{task_id}.pdf" for task_id in states}
    followed.states = states
    return [line.plain for line in TaskBars(followed, clock=lambda: 0.0).lines(width, height, is_ascii)]


def test_of_many_tasks_those_under_way_are_drawn_as_far_as_there_is_room() -> None:
    states = {f"t{n}": TaskState(f"t{n}", "", state="completed" if n % 2 else "running") for n in range(40)}
    drawn = bars(states, height=10)

    assert len(drawn) == 10
    assert "t0.pdf" in drawn[0]
    assert not any(f"t{n}.pdf" in line for line in drawn for n in range(1, 40, 2))
    assert drawn[-1].strip() == "40 tasks: 20 completed, 20 under way"
    assert all(has_ended(state) == (state.state == "completed") for state in states.values())


def test_a_bar_is_cut_into_the_steps_that_were_seen_and_full_at_the_end() -> None:
    steps = {name: StepState("completed") for name in STEPS}
    half = {**dict(list(steps.items())[:2]), "chunking": StepState("started")}
    [going, *_] = bars({"t": TaskState("t", "", state="running", progress=50.0, steps=half)}, height=10)
    [done, *below] = bars({"t": TaskState("t", "", state="completed", progress=100.0, steps=steps)}, height=10)

    assert going.count("╸") == len(half)
    assert done.count("╸") == len(steps) - 1
    assert done.rstrip().endswith("completed")
    assert [line.split()[1] for line in below] == STEPS


def test_a_terminal_of_ascii_gets_ascii() -> None:
    drawn = bars({"ü": TaskState("ü", "", state="running", progress=50.0, step="chunking")}, height=10, is_ascii=True)

    assert "".join(drawn).isascii()
    assert "###" in drawn[0]
    assert "---" in drawn[0]
