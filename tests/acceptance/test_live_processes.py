"""Live progress across processes: all hear of what one of them handles, also around an outage of Redis."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import commands
import databases
import deliveries
import proxies
import pytest
import receiving
import servers
import sockets

SERVICE = urlsplit(os.environ.get("MORAG_TEST_REDIS", "redis://127.0.0.1:6379"))
"""One that runs, where there is no `redis-server` to be started and killed."""

APP = """
from morag_client import Receiver, Registry

registry = Registry()


@registry.on("*", name="look")
async def look(event) -> None:
    pass


receiver = Receiver(registry=registry)
"""


class Redis:
    """A Redis of the test's own, that can be killed and started again at the same port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(command, cwd=self._folder, stdout=subprocess.DEVNULL)
        receiving.eventually(self._answers)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False


class Reached:
    """A Redis that runs already, behind a proxy that can be told that nobody is there."""

    def __init__(self, proxy: proxies.Proxy) -> None:
        self._proxy = proxy
        self.port = proxy.port

    def start(self) -> None:
        self._proxy.set("pass")

    def kill(self) -> None:
        self._proxy.set("refuse")


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis | Reached]:
    if shutil.which("redis-server") is None:
        with contextlib.suppress(OSError), socket.create_connection((SERVICE.hostname, SERVICE.port), 1):
            with proxies.before(SERVICE.geturl()) as proxy:
                yield Reached(proxy)
            return
        (pytest.fail if "redis" in databases.REQUIRED else pytest.skip)(f"there is no Redis at {SERVICE.geturl()}")
    redis = Redis(tmp_path)
    redis.start()
    yield redis
    redis.kill()


@contextlib.contextmanager
def two(folder: Path, **variables: str) -> Iterator[tuple[commands.Served, commands.Served]]:
    """Two processes with handlers on one inbox."""
    (folder / "app.py").write_text(APP)
    settings = {"MORAG_DATABASE_URL": receiving.url_of(folder), "MORAG_LEASE": "3", "MORAG_REDIS_CHANNEL": str(folder)}
    variables = {**settings, **variables}
    with (
        commands.served(folder, "app:receiver", "--inspect", **variables) as one,
        commands.served(folder, "app:receiver", "--inspect", **variables) as other,
    ):
        yield one, other


def post(url: str, *bodies: bytes) -> None:
    for body in bodies:
        assert servers.exchange(url, servers.request_bytes(body, servers.signed(body))).status == 200


def test_the_clients_of_each_hear_of_both_also_around_an_outage(redis: Redis | Reached, tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{redis.port}"
    with (
        two(tmp_path, MORAG_REDIS_URL=url) as (one, other),
        sockets.connected(one.url) as here,
        sockets.connected(other.url) as there,
    ):
        # when both take webhooks
        for number in range(10):
            post((one, other)[number % 2].url, deliveries.step_body(step=f"step-{number}"))
        # then the clients of both are told of all
        assert here.receive_until(10) == there.receive_until(10) == list(range(1, 11))
        # and while Redis is away, too, though later
        redis.kill()
        post(one.url, deliveries.step_body(step="in the dark"), deliveries.step_body(step="still"))
        for client in (here, there):
            assert client.receive_until(12)[-1] == 12
        # and after it has come back, at once
        redis.start()
        receiving.eventually(lambda: all("arrive" in process.output for process in (one, other)))
        post(one.url, deliveries.task_body(status="completed", result={"chunks_processed": 1}))
        for client in (here, there):
            assert client.receive_until(13)[-1] == 13
            assert client.updates[-1]["result"] == {"chunks_processed": 1}
        post(other.url, deliveries.task_body("task-2"), deliveries.step_body("task-2"))
        for client in (here, there):
            assert client.receive_until(2, task="task-2")[-1] == 2
    assert "ERROR" not in one.output + other.output


def test_a_connection_that_hangs_for_ever_is_found_out(redis: Redis | Reached, tmp_path: Path) -> None:
    with (
        proxies.before(f"redis://127.0.0.1:{redis.port}") as proxy,
        two(tmp_path, MORAG_REDIS_URL=proxy.through(f"redis://127.0.0.1:{redis.port}")) as (one, other),
        sockets.connected(other.url) as client,
    ):
        post(one.url, deliveries.task_body())
        assert client.receive_until(1)[-1] == 1
        # when whatever is in between forgets the connections
        proxy.strand()
        post(one.url, deliveries.step_body())
        # then the client is told all the same, and by Redis again in the end
        assert client.receive_until(2, seconds=30)[-1] == 2
        receiving.eventually(lambda: proxy.connections >= 4, seconds=20)
        post(one.url, deliveries.step_body(step="ingestion"))
        assert client.receive_until(3)[-1] == 3


def test_those_of_another_channel_are_not_heard(redis: Redis | Reached, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b")]
    variables = {"MORAG_REDIS_URL": f"redis://127.0.0.1:{redis.port}"}
    with contextlib.ExitStack() as stack:
        urls = []
        for folder in folders:
            folder.mkdir()
            (folder / "app.py").write_text(APP)
            settings = {**variables, "MORAG_DATABASE_URL": receiving.url_of(folder), "MORAG_REDIS_CHANNEL": str(folder)}
            urls.append(stack.enter_context(commands.served(folder, "app:receiver", "--inspect", **settings)).url)
        theirs = stack.enter_context(sockets.connected(urls[1]))
        ours = stack.enter_context(sockets.connected(urls[0]))
        post(urls[0], deliveries.task_body())

        assert ours.receive()["task_id"] == "task-1"
        assert theirs.is_silent()


def test_several_processes_without_redis_are_warned_of(tmp_path: Path) -> None:
    with two(tmp_path) as (one, _), sockets.connected(one.url):
        receiving.eventually(lambda: "set MORAG_REDIS_URL" in one.output, seconds=25)


def test_one_process_alone_is_not_warned(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    variables = {"MORAG_DATABASE_URL": receiving.url_of(tmp_path), "MORAG_LEASE": "3"}
    # given one that was killed and left its row behind
    with commands.served(tmp_path, "app:receiver", "--inspect", **variables) as killed:
        killed.process.kill()
        killed.process.wait(10)
    with (
        commands.served(tmp_path, "app:receiver", "--inspect", **variables) as served,
        sockets.connected(served.url) as client,
    ):
        assert client.is_silent(seconds=6)
        assert "MORAG_REDIS_URL" not in served.output


def test_a_redis_that_is_not_there_holds_up_nothing(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    variables = {"MORAG_DATABASE_URL": receiving.url_of(tmp_path), "MORAG_REDIS_URL": "redis://127.0.0.1:1"}
    with (
        commands.served(tmp_path, "app:receiver", "--inspect", **variables) as served,
        sockets.connected(served.url) as client,
    ):
        post(served.url, deliveries.task_body())
        assert client.receive()["sequence"] == 1
        assert served.stop() == 0


def test_a_url_that_is_none_is_said_at_the_start(tmp_path: Path) -> None:
    done = commands.run(
        tmp_path,
        "serve",
        "--port",
        "0",
        MORAG_REDIS_URL="http://127.0.0.1",
        MORAG_DATABASE_URL=receiving.url_of(tmp_path),
    )

    assert done.returncode == 2
    assert "MORAG_REDIS_URL" in done.stderr
