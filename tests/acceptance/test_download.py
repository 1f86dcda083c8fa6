"""`morag-client download`, as a process of its own against a mock MoRAG, and against servers that mean no good."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import commands
import pytest
import terminals

from morag_client import MoragClient
from morag_client.testing import MockMorag

KEY = "test-api-key"
TEXT = "# Tides\n\nThe tide is the rise of the sea.\n"
FILES = {"markdown.md", "metadata.json", "chunks.json"}


@pytest.fixture
def morag() -> Iterator[MockMorag]:
    with MockMorag(speed=0) as mock:
        yield mock


def ended_task(morag: MockMorag, folder: Path) -> str:
    (folder / "tides.md").write_text(TEXT)
    with MoragClient(base_url=morag.url, api_key=KEY) as client:
        task_id = client.ingest_file(folder / "tides.md").task_id
    assert morag.wait(task_id, timeout_seconds=20)
    return task_id


def download(folder: Path, *arguments: str, url: str, key: str = KEY) -> subprocess.CompletedProcess[str]:
    given = {"MORAG_API_URL": url, "MORAG_API_KEY": key, "COLUMNS": "160"}
    done = commands.run(folder, "download", *arguments, secret=None, **given)
    assert "Traceback" not in done.stderr
    return done


def inside(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("profile", ["guide", "r1", "r2"])
def test_all_files_of_a_task_into_a_folder_that_is_made(tmp_path: Path, profile: Any) -> None:
    with MockMorag(profile=profile, speed=0) as morag:
        task_id = ended_task(morag, tmp_path)
        done = download(tmp_path, task_id, "--to", "out/files", url=morag.url)

    wanted = FILES if profile != "r2" else inside(tmp_path / "out/files")
    assert (done.returncode, inside(tmp_path / "out/files")) == (0, wanted)
    assert "Tides" in (tmp_path / "out/files/markdown.md").read_text()
    assert "saved  out/files/markdown.md" in done.stdout
    assert f"{len(wanted)} of {len(wanted)} were fetched" in done.stderr


def test_what_there_is_is_listed_and_nothing_fetched(morag: MockMorag, tmp_path: Path) -> None:
    task_id = ended_task(morag, tmp_path)
    done = download(tmp_path, task_id, "--list", url=morag.url)
    as_json = download(tmp_path, task_id, "--list", "--json", url=morag.url)

    assert (done.returncode, done.stderr) == (0, "")
    assert all(name in done.stdout for name in FILES)
    found = {file["file"]: file for file in map(json.loads, as_json.stdout.splitlines())}
    assert set(found) == FILES
    assert found["chunks.json"]["url"] == f"/api/files/temp/{task_id}/chunks.json"
    assert inside(tmp_path) == {"tides.md"}


def test_some_files_and_one_that_is_not_there(morag: MockMorag, tmp_path: Path) -> None:
    task_id = ended_task(morag, tmp_path)
    done = download(tmp_path, task_id, "chunks.json", "nope.md", "--json", "--to", "out", url=morag.url)

    found = {file["file"]: file for file in map(json.loads, done.stdout.splitlines())}
    assert (done.returncode, inside(tmp_path / "out")) == (1, {"chunks.json"})
    assert found["chunks.json"]["size_bytes"] == (tmp_path / "out/chunks.json").stat().st_size
    assert "File not found" in found["nope.md"]["error"]


def test_a_url_as_webhooks_name_it(morag: MockMorag, tmp_path: Path) -> None:
    task_id = ended_task(morag, tmp_path)
    place = f"/api/files/temp/{task_id}"
    done = download(tmp_path, f"{place}/markdown.md", f"{morag.url}{place}/chunks.json", "--to", "out", url=morag.url)

    assert (done.returncode, inside(tmp_path / "out")) == (0, {"markdown.md", "chunks.json"})


def test_a_file_that_is_there_is_kept_unless_it_is_forced(morag: MockMorag, tmp_path: Path) -> None:
    task_id = ended_task(morag, tmp_path)
    (tmp_path / "markdown.md").write_text("mine")
    (tmp_path / "chunks.json").symlink_to("nowhere")
    kept = download(tmp_path, task_id, url=morag.url)

    assert kept.returncode == 1
    assert kept.stderr.count("it is there already; --force") == 2
    assert (tmp_path / "markdown.md").read_text() == "mine"
    assert (tmp_path / "chunks.json").is_symlink()
    assert (tmp_path / "metadata.json").exists()

    forced = download(tmp_path, task_id, "--force", url=morag.url)
    assert forced.returncode == 0
    assert (tmp_path / "markdown.md").read_text() != "mine"
    assert not (tmp_path / "nowhere").exists()
    assert inside(tmp_path) == FILES | {"tides.md"}


def test_paths_of_r3s_stages(tmp_path: Path) -> None:
    (tmp_path / "tides.md").write_text(TEXT)
    with MockMorag(profile="r3", speed=0) as morag:
        with MoragClient(base_url=morag.url, api_key=KEY) as client:
            client.stages.execute("markdown-conversion", tmp_path / "tides.md")
        listed = download(tmp_path, "/", "--list", "--json", url=morag.url)
        paths = [json.loads(line)["url"] for line in listed.stdout.splitlines()]
        done = download(tmp_path, *paths, "--to", "out", url=morag.url)
        task = download(tmp_path, "some-task", url=morag.url)

    assert (listed.returncode, done.returncode) == (0, 0)
    assert inside(tmp_path / "out") == {path.rpartition("/")[2] for path in paths} != set()
    assert (task.returncode, task.stderr.count("\n")) == (1, 1)
    assert "release r3, which has no tasks" in task.stderr


def test_what_goes_wrong_is_one_line_that_says_what_to_do(morag: MockMorag, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = download(tmp_path, "t", url=f"http://127.0.0.1:{probe.getsockname()[1]}")
    (tmp_path / "file").write_text("")
    unknown = download(tmp_path, "nobody", url=morag.url)
    for done, says in (
        (nobody, "is it running? Set --api-url"),
        (download(tmp_path, "t", url=morag.url, key="wrong"), "set MORAG_API_KEY"),
        (unknown, "has no files of nobody"),
        (download(tmp_path, "nobody", "--list", url=morag.url), "has no files of nobody"),
        (download(tmp_path, "http://127.0.0.1:9/a.md", url=morag.url), "the API key is sent nowhere else"),
        (download(tmp_path, "/api/../../a.md", url=morag.url), "leads upwards"),
    ):
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
        assert says in done.stderr
    assert inside(tmp_path) == {"file"}
    assert download(tmp_path, "t", "--to", "file", url=morag.url).returncode == 2
    assert download(tmp_path, "t", "a", "--list", url=morag.url).returncode == 2


Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def server(files: list[str], serve: Answer) -> Iterator[str]:
    """A server that is like r1, has a task with these files, and serves them in its own way."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            listed = {"files": [{"filename": name, "size_bytes": 1_000_000} for name in files]}
            known = {"/api/v1/status/": {"active_tasks": [], "count": 0}, "/api/files/temp/t": listed}
            if self.path in known:
                self._say(json.dumps(known[self.path]).encode())
            elif self.path == "/api/v1/process":
                self._say(b'{"detail": "Not Found"}', status=404)
            else:
                serve(self)

        def _say(self, body: bytes, *, status: int = 200) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.server_port}"
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


def test_names_of_the_server_lead_nowhere_else(tmp_path: Path) -> None:
    def serve(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("content-length", "4")
        request.end_headers()
        request.wfile.write(b"evil")

    names = [
        "../up.md",
        "/etc/absolute.md",
        "..\\..\\win.md",
        ".ssh/authorized_keys",
        "\x1b[2Jred.md",
        "%2e%2e%2fcoded",
    ]
    (tmp_path / "deep" / "out").mkdir(parents=True)
    with server(names, serve) as url:
        done = download(tmp_path, "t", "--to", "deep/out", url=url)

    assert inside(tmp_path) == {"deep"}
    assert inside(tmp_path / "deep") == {"out"}
    assert len(inside(tmp_path / "deep/out")) == 4
    assert inside(tmp_path / "deep/out") >= {"absolute.md", "authorized_keys", "coded"}
    assert all((tmp_path / "deep/out" / name).is_file() for name in inside(tmp_path / "deep/out"))
    assert "\x1b" not in done.stdout + done.stderr
    assert done.returncode == 1
    assert "error: ../up.md: " in done.stderr
    assert "error: ..\\..\\win.md: " in done.stderr


def test_a_download_that_breaks_off_is_taken_up_again(tmp_path: Path) -> None:
    content = bytes(range(256)) * 4000
    asked: list[str | None] = []

    def serve(request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("range")
        asked.append(wanted)
        first = int(re.search(r"(\d+)-", wanted)[1]) if wanted else 0
        request.send_response(206 if wanted else 200)
        if wanted:
            request.send_header("content-range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        request.send_header("content-length", str(len(content) - first))
        request.end_headers()
        request.wfile.write(content[first:] if wanted else content[: len(content) // 2])
        request.close_connection = True

    with server(["big.bin"], serve) as url:
        done = download(tmp_path, "t", url=url)

    assert (done.returncode, (tmp_path / "big.bin").read_bytes()) == (0, content)
    assert len(asked) == 2
    assert asked[1] is not None


def test_a_terminal_gets_a_bar_and_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    stalled = threading.Event()

    def serve(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("content-length", "1000000")
        request.end_headers()
        request.wfile.write(b"x" * 400_000)
        stalled.wait(20)
        request.close_connection = True

    with server(["big.bin"], serve) as url:
        given = {"MORAG_API_URL": url, "MORAG_API_KEY": KEY}
        with terminals.opened(tmp_path, "download", "t", "--to", "out", columns=80, **given) as terminal:
            terminal.until(r"big\.bin +[━╸]+ +40 % +400\.0 kB of 1\.0 MB")
            terminal.press(b"\x03")
            assert terminal.end() == 130
        stalled.set()

    assert terminal.shown.count("\x1b[?25l") == terminal.shown.count("\x1b[?25h") == 1
    assert "━" not in terminal.screen
    assert "interrupted; 1 of 1 were not fetched" in terminal.screen
    assert inside(tmp_path / "out") == set()
