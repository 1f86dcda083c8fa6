"""The examples that submit documents and wait, each run as its README says: processes, sockets, a mock MoRAG."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import browsing
import commands
import deliveries
import httpx2
import mocking
import proxies
import pytest
import receiving
from playwright.sync_api import expect

from morag_client import Settings, webhook_url

EXAMPLES = Path(__file__).parents[2] / "examples"
BATCH = EXAMPLES / "09_batch_report"
STREAM = EXAMPLES / "10_submit_and_stream"
NEXT_JOB = EXAMPLES / "11_next_job"
RECOVER = EXAMPLES / "12_recover_after_downtime"
SIGNING_KEY = "a key of the tests"
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize("profile", ["guide", "r1", "r2"])
def test_batch_report(profile, tmp_path):
    # given a folder with a good document, one that MoRAG cannot read, one whose name is hostile, and a hidden file
    fill(tmp_path, "tides.md", "deep/moon.txt", "figures.xyz", "red\x1b[31m.md", ".hidden.md")
    with mocking.asked(profile=profile) as morag:
        # when it is put into MoRAG
        done = batch(tmp_path, morag)
    # then there is a row for each, in order, what failed says why, and so does the exit code
    assert rows(done.stdout) == [
        ("deep/moon.txt", "completed", True, ""),
        ("figures.xyz", "failed", False, "Unsupported file format: .xyz files cannot be converted to markdown"),
        ("red [31m.md", "completed", True, ""),
        ("tides.md", "completed", True, ""),
    ]
    assert done.stdout.endswith("\n3 of 4 completed\n")
    assert done.returncode == 1, done.stderr


def test_batch_report_of_what_is_all_completed_a_few_at_a_time(tmp_path):
    # given more documents than are to be there at once, and a MoRAG that takes its time
    fill(tmp_path, *(f"{number}.md" for number in range(7)))
    with mocking.asked(profile="guide", speed=0.2) as morag:
        # when they are put into it
        process = subprocess.Popen(
            [sys.executable, "app.py", str(tmp_path)],
            cwd=BATCH,
            env=variables(morag, AT_ONCE="3"),
            stdout=subprocess.PIPE,
            text=True,
        )
        with process:
            active = set()
            while process.poll() is None:
                active.add(morag.get("/api/v1/status/").json()["count"])
            printed = process.stdout.read()
    # then there never were more than that, and all are completed
    assert max(active) == 3
    assert [row[1] for row in rows(printed)] == ["completed"] * 7
    assert process.returncode == 0


def test_batch_report_of_nobody_there(tmp_path):
    fill(tmp_path, "tides.md", "moon.md")
    with mocking.asked() as morag:
        # given a key that is not known: it is said once, and there is no table
        done = batch(tmp_path, morag, MORAG_API_KEY="another")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.count("401") == 1
        # and what is no folder is bad usage
        done = batch(tmp_path / "nothing", morag)
        assert (done.returncode, done.stderr) == (2, "usage: python app.py FOLDER\n")


def test_submit_and_stream(tmp_path):
    # given the application, and a MoRAG that takes its time
    with mocking.asked(speed=0.5) as morag, streaming(morag, tmp_path) as url:
        with httpx2.Client(base_url=url, timeout=30) as visitor:
            # when a visitor submits a document and follows it
            submitted = visitor.post("/documents", files={"file": ("tides.md", mocking.TEXT)})
            assert submitted.status_code == 202, submitted.text
            told = list(stream(visitor, submitted.json()["events"]))
        # then the stream told of its progress, up to its end
        assert len(told) > 3
        assert {task["state"] for task in told[:-1]} == {"running"}
        assert told[-1] == {"state": "completed", "percent": 100.0, "step": "ingestion", "error": None}
        assert [task["percent"] for task in told] == sorted(task["percent"] for task in told)
        # and another visitor is told nothing of it
        with httpx2.Client(base_url=url, timeout=30) as stranger:
            assert list(stream(stranger, submitted.json()["events"])) == []
        # and the receiver lives as long as the application; what is posted to it without the signed part is refused
        assert httpx2.post(f"{url}/morag/webhook", json={}).status_code == 401
        assert httpx2.get(f"{url}/morag/health/ready").json() == {"status": "ready"}
    # and the handler knew whose document it was, while no log has the key to its webhooks
    printed = (tmp_path / "output").read_text()
    assert re.search(rf"^{submitted.json()['task_id']} of visitor [0-9a-f]{{16}} is done$", printed, re.MULTILINE)
    assert "morag-w1" not in printed


def test_submit_and_stream_what_fails(tmp_path):
    with (
        mocking.asked() as morag,
        streaming(morag, tmp_path) as url,
        httpx2.Client(base_url=url, timeout=30) as visitor,
    ):
        # given a document that MoRAG cannot read, with a name that would lead elsewhere
        submitted = visitor.post("/documents", files={"file": ("../../figures.xyz", mocking.TEXT)})
        # then the stream ends with why
        last = list(stream(visitor, submitted.json()["events"]))[-1]
        assert (last["state"], last["error"][:23]) == ("failed", "Unsupported file format")
    # and a MoRAG that is away is no error of the visitor's, who is not told where it is
    with streaming(morag, tmp_path) as url:
        refused = httpx2.post(f"{url}/documents", files={"file": ("tides.md", mocking.TEXT)}, timeout=30)
        assert (refused.status_code, refused.json()) == (502, {"detail": "the document could not be submitted"})


def test_submit_and_stream_in_a_browser(tmp_path):
    fill(tmp_path, "tides.md")
    with mocking.asked(speed=0.05) as morag, streaming(morag, tmp_path) as url, browsing.started() as browser:
        page = browser.new_page()
        page.goto(url)
        page.get_by_label("File").set_input_files(tmp_path / "tides.md")
        page.get_by_role("button", name="Submit").click()
        expect(page.get_by_role("status")).to_have_text("completed", timeout=20_000)
        assert page.get_by_role("progressbar").evaluate("bar => bar.value") == 100


@pytest.mark.parametrize("profile", ["guide", "r2"])  # of which the latter does not say where the chunks are
def test_next_job(profile, tmp_path):
    # given the application, and a MoRAG that is away as soon as a document is through
    fill(tmp_path, "tides.md")
    with mocking.asked(profile=profile) as morag, proxied(morag) as proxy, taking_jobs(morag, proxy, tmp_path) as run:
        proxy.set("refuse")
        submitted = run("submit", "tides.md")
        morag.wait(submitted.rpartition(" ")[2].strip())
        # then the handler is tried again, and there is no job
        receiving.eventually(lambda: attempts(tmp_path) >= 1, seconds=20)
        assert run("work") == ""
        # when MoRAG is back
        proxy.set("pass")
        # then there is a job, with the chunks that MoRAG made, for the document that was submitted
        receiving.eventually(lambda: jobs(tmp_path) == 1, seconds=30)
        chunks = [json.loads(path.read_bytes()) for path in (tmp_path / "chunks").iterdir()]
        assert run("work") == f"tides.md: {len(chunks[0])} chunks\n"
        # and once it is done it is not done again, whatever is handled a second time
        assert attempts(tmp_path) > 1
        replayed = commands.run(tmp_path, "replay", "--name", "task.completed", "--yes", secret=None, **inbox(tmp_path))
        assert replayed.returncode == 0, replayed.stdout + replayed.stderr
        receiving.eventually(lambda: runs(tmp_path) == [(1, "succeeded")], seconds=20)  # a replay begins with the first
        assert (run("work"), jobs(tmp_path), len(chunks)) == ("", 1, 1)


@pytest.mark.filterwarnings("ignore:public_url leads to")
def test_next_job_fetches_what_the_webhook_names(tmp_path):
    with mocking.asked() as morag, proxied(morag) as proxy, taking_jobs(morag, proxy, tmp_path) as run:
        # given webhooks of a task that name the chunks of another, and have no others
        chunks = f"/api/files/temp/{morag.ingest()}/chunks.json"
        named = deliveries.step_body("a-task", data={"chunks_file_url": chunks})
        settings = Settings.load(signing_key=SIGNING_KEY, public_url=f"http://127.0.0.1:{port_of(tmp_path)}")
        # when they arrive
        for body in (named, deliveries.task_body("a-task", "completed", result={})):
            told = httpx2.post(webhook_url(settings, document="tides"), content=body, headers=JSON)
            assert told.status_code == 200, told.text
        # then it is those that the job is about
        receiving.eventually(lambda: jobs(tmp_path) == 1, seconds=20)
        assert (tmp_path / "chunks/a-task.json").read_bytes() == morag.get(chunks).content
        assert run("work").startswith("tides: ")


@pytest.mark.parametrize("how", ["by the command line", "in code"])
def test_recover_after_downtime(how, tmp_path):
    fill(tmp_path, "tides.md", "moon.md", "sea.md", "figures.xyz")
    with mocking.asked(speed=0.7, max_retries=0) as morag:
        # given a receiver that is killed while documents are under way, one of which has failed
        with recovering(morag, tmp_path) as process:
            known = submit(morag, tmp_path, "tides.md", "moon.md", "figures.xyz")
            receiving.eventually(lambda: notes(tmp_path) and heard_of(tmp_path) == set(known), seconds=20)
            process.kill()
            process.wait()
        assert notes(tmp_path) == ["figures.xyz: task.failed, by webhook"]
        # and another that is submitted while nobody listens
        unknown = submit(morag, tmp_path, "sea.md")[0]
        for task in [*known, unknown]:
            morag.wait(task)
        # when it is asked how they stand, and asked again, and again when the receiver is back
        if how == "in code":
            assert "'task.completed': 3" in example(morag, tmp_path, "reconcile")
        else:
            assert "3 task.completed made" in reconcile(morag, tmp_path)
        assert "made" not in reconcile(morag, tmp_path)
        with recovering(morag, tmp_path):
            receiving.eventually(lambda: len(notes(tmp_path)) >= 4, seconds=20)
            assert "made" not in reconcile(morag, tmp_path)
    # then each document was handled once
    ended = [f"{document}: task.completed, by reconcile" for document in ("moon.md", "tides.md", unknown)]
    assert sorted(notes(tmp_path)) == sorted(["figures.xyz: task.failed, by webhook", *ended])
    assert runs(tmp_path) == [(1, "succeeded")] * 4
    # and is as MoRAG says
    told = receiving.query(tmp_path, "SELECT task_id, state FROM webhook_tasks WHERE task_id IS NOT NULL")
    assert dict(told) == {**dict.fromkeys([*known[:2], unknown], "completed"), known[2]: "failed"}


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(mocking.TEXT)


def variables(morag: mocking.Asked, **more: str) -> dict[str, str]:
    return commands.environment(
        secret=None, **{"MORAG_API_URL": str(morag.http.base_url), "MORAG_API_KEY": "test-api-key", **more}
    )


def batch(folder: Path, morag: mocking.Asked, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "app.py", str(folder)],
        cwd=BATCH,
        env=variables(morag, **more),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def rows(printed: str) -> list[tuple[str, str, bool, str]]:
    """The report's rows: file, outcome, whether there are chunks, error."""
    head, *lines = printed.partition("\n\n")[0].splitlines()
    assert head.split() == ["file", "outcome", "chunks", "seconds", "error"]
    found = [re.fullmatch(r"(.+?)  +(\w+) +(\d*) +(\d+\.\d)(?:  (.+))?", line) for line in lines]
    return [(row[1], row[2], int(row[3] or 0) > 0, row[5] or "") for row in found]


@contextlib.contextmanager
def streaming(morag: mocking.Asked, tmp_path: Path) -> Iterator[str]:
    """The URL of the application that submits and streams, served as its README says."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "app:app", "--port", f"{port}", "--timeout-graceful-shutdown", "5"]
    address = f"http://127.0.0.1:{port}"
    with serving(command, STREAM, tmp_path, morag, MORAG_PUBLIC_URL=f"{address}/morag"):
        yield address


@contextlib.contextmanager
def serving(
    command: list[Any], folder: Path, tmp_path: Path, morag: mocking.Asked, **more: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A server that has started, its output in a file; it ends in order, or is killed."""
    given = variables(morag, MORAG_DATABASE_URL=receiving.url_of(tmp_path), **more)
    output = tmp_path / "output"
    with output.open("ab") as written:
        begin = written.tell()
        process = subprocess.Popen(command, cwd=folder, env=given, stdout=written, stderr=written)
    try:
        receiving.eventually(lambda: is_up(process, output.read_text()[begin:]), seconds=20)
        yield process
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    finally:
        process.kill()
        process.wait()


def is_up(process: subprocess.Popen[bytes], printed: str) -> bool:
    assert process.poll() is None, printed
    return "Uvicorn running on" in printed or "Webhooks to" in printed


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def stream(visitor: httpx2.Client, path: str) -> Iterator[Any]:
    """What the server-sent events of a stream say, to its end."""
    with visitor.stream("GET", path) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))


@contextlib.contextmanager
def proxied(morag: mocking.Asked) -> Iterator[proxies.Proxy]:
    proxy = proxies.Proxy(str(morag.http.base_url.host), int(morag.http.base_url.port or 0))
    try:
        yield proxy
    finally:
        proxy.close()


@contextlib.contextmanager
def taking_jobs(morag: mocking.Asked, proxy: proxies.Proxy, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """The application, served, which asks through the proxy; what is given runs its other commands, which do not."""
    port = port_of(tmp_path)
    given = {
        "MORAG_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "MORAG_SIGNING_KEY": SIGNING_KEY,
        "MORAG_RETRY_FIRST": "0.5",
        "CHUNKS_FOLDER": str(tmp_path / "chunks"),
    }

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", NEXT_JOB / "app.py", *arguments],
            cwd=tmp_path,
            env=variables(morag, **inbox(tmp_path), **given),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    command = [sys.executable, "-m", "uvicorn", "app:app", "--port", f"{port}"]
    through = proxy.through(str(morag.http.base_url))
    with serving(command, NEXT_JOB, tmp_path, morag, MORAG_API_URL=through, **given):
        yield run


def inbox(folder: Path) -> dict[str, str]:
    return {"MORAG_DATABASE_URL": receiving.url_of(folder)}


def attempts(folder: Path) -> int:
    return max((number for number, _ in runs(folder)), default=0)


def runs(folder: Path) -> list[tuple[Any, ...]]:
    """How often each handler's run was tried, and how it stands."""
    return receiving.query(folder, "SELECT attempts, state FROM webhook_handler_runs")


def jobs(folder: Path) -> int:
    return receiving.query(folder, "SELECT count(*) FROM jobs")[0][0]


@contextlib.contextmanager
def recovering(morag: mocking.Asked, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The receiver of the example, served as its README says."""
    command = [commands.COMMAND, "serve", "app:receiver", "--port", f"{port_of(tmp_path)}"]
    with serving(command, RECOVER, tmp_path, morag, **of_recovery(tmp_path)) as process:
        yield process


def port_of(folder: Path) -> int:
    """A port that stays the same, as webhooks go there; free when it is first asked for."""
    kept = folder / "port"
    if not kept.exists():
        kept.write_text(f"{free_port()}")
    return int(kept.read_text())


def of_recovery(folder: Path) -> dict[str, str]:
    return {"MORAG_PUBLIC_URL": f"http://127.0.0.1:{port_of(folder)}", "NOTES_FILE": str(folder / "notes.txt")}


def example(morag: mocking.Asked, folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", RECOVER / "app.py", *arguments],
        cwd=folder,
        env=variables(morag, **inbox(folder), **of_recovery(folder)),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def submit(morag: mocking.Asked, folder: Path, *names: str) -> list[str]:
    """The ids of the tasks."""
    return [line.rpartition(" ")[2] for line in example(morag, folder, "submit", *names).splitlines()]


def reconcile(morag: mocking.Asked, folder: Path) -> str:
    given = variables(morag, **inbox(folder), **of_recovery(folder))
    done = commands.run(folder, "reconcile", secret=None, **given)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def heard_of(folder: Path) -> set[str]:
    return {task for (task,) in receiving.query(folder, "SELECT task_id FROM webhook_events")}


def notes(folder: Path) -> list[str]:
    path = folder / "notes.txt"
    return path.read_text().splitlines() if path.exists() else []
