"""What live progress costs when clients behave badly: those that read nothing, or never say who they are."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import commands
import deliveries
import httpx2
import receiving
import servers
import sockets

CLIENTS = int(os.environ.get("MORAG_TEST_STUCK_CLIENTS", "60"))
"""How many clients read nothing; 1000 to see that the memory of so many is bounded, too."""

HANDSHAKE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
CONNECT = b"\x81\x82\x00\x00\x00\x0040"
"""The frame in which a client says who it is: nobody in particular."""


def stuck(url: str, *, says_who: bool = True) -> socket.socket:
    """A client that stops reading once it is connected, with as little room in the kernel as can be had."""
    where = urlsplit(url)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    connection.settimeout(20)
    connection.connect((where.hostname, where.port))
    connection.sendall(HANDSHAKE)
    read = b""
    while b'"sid"' not in read:
        read += connection.recv(4096)
    if says_who:
        connection.sendall(CONNECT)
        while b'40{"sid"' not in read:
            read += connection.recv(4096)
    return connection


def memory(pid: int) -> float:
    """MB of a process's memory that are resident."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def open_connections(pid: int) -> int:
    return sum(str(fd.readlink()).startswith("socket:") for fd in Path(f"/proc/{pid}/fd").iterdir())


def posted(url: str, count: int, *, size: int) -> Iterator[int]:
    for number in range(count):
        body = deliveries.step_body(f"task-{number}", data={"text": "x" * size})
        assert servers.exchange(url, servers.request_bytes(body, servers.signed(body))).status == 200
        yield number


def test_clients_that_read_nothing_are_dropped_and_their_memory_is_bounded(tmp_path: Path) -> None:
    settings = {"MORAG_PROGRESS_QUEUE": "20", "MORAG_DATABASE_URL": receiving.url_of(tmp_path)}
    with contextlib.ExitStack() as stack:
        served = stack.enter_context(commands.served(tmp_path, "--inspect", "--no-access-log", **settings))
        pid = served.process.pid
        # given many clients that read nothing, and one that does
        reader = stack.enter_context(sockets.connected(served.url))
        before = memory(pid)
        for _ in range(CLIENTS):
            stack.enter_context(stuck(served.url))
        connected = memory(pid)
        # when there is much more to tell than fits into their queues
        told = 0
        for _ in posted(served.url, 1000, size=12_000):
            told += 1
            reader.receive()
            if served.output.count("is dropped") >= CLIENTS:
                break
        # then they are dropped, and the one that reads has seen everything
        receiving.eventually(lambda: served.output.count("is dropped") >= CLIENTS)
        assert [update["task_id"] for update in reader.updates] == [f"task-{number}" for number in range(told)]
        # and what they cost is some buffers of the server's: 64 KiB and a frame each, whatever is told
        assert (memory(pid) - connected) / CLIENTS < 0.25 + 60 / CLIENTS, (before, connected, memory(pid))
        assert "ERROR" not in served.output


def test_whoever_never_says_who_it_is_is_dropped(tmp_path: Path) -> None:
    settings = {"MORAG_DATABASE_URL": receiving.url_of(tmp_path)}
    with commands.served(tmp_path, "--inspect", **settings) as served:
        pid = served.process.pid
        with contextlib.ExitStack() as stack:
            for _ in range(5):
                stack.enter_context(stuck(served.url, says_who=False))
            reached = open_connections(pid)

            receiving.eventually(lambda: open_connections(pid) <= reached - 5, seconds=20)


def test_a_polling_client_that_stops_asking_is_dropped(tmp_path: Path) -> None:
    settings = {"MORAG_PROGRESS_QUEUE": "10", "MORAG_DATABASE_URL": receiving.url_of(tmp_path)}
    with commands.served(tmp_path, "--inspect", "--no-access-log", **settings) as served:
        place = f"{served.url}/socket.io/?EIO=4&transport=polling"
        place += f"&sid={json.loads(httpx2.get(place).text[1:])['sid']}"
        assert httpx2.post(place, content=b"40").status_code == 200
        assert httpx2.get(place).text.startswith("40")

        for _ in posted(served.url, 30, size=10):
            pass

        receiving.eventually(lambda: "is dropped" in served.output)
        assert httpx2.get(place).status_code == 400
