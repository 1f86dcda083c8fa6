"""Real HTTP servers around an application, and raw bytes to send to them."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import deliveries
import uvicorn


@contextlib.contextmanager
def serving(app: Any, *, access_log: bool = False, **options: Any) -> Iterator[str]:
    """The URL of an application on a free port of this machine, in a thread of its own."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(256)
        config = uvicorn.Config(app, log_config=None, access_log=access_log, timeout_graceful_shutdown=5, **options)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="uvicorn")
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive(), "the application did not start"
                time.sleep(0.005)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive(), "the server did not stop"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str] = field(repr=False)
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def request_bytes(
    body: bytes,
    *lines: bytes,
    target: bytes = b"/webhook",
    method: bytes = b"POST",
    content_type: bytes | None = b"application/json",
    length: bytes | None = b"",
) -> bytes:
    """A request, byte by byte; `lines` are further header lines, `length` is another Content-Length, None for none."""
    given = [method + b" " + target + b" HTTP/1.1", b"Host: 127.0.0.1"]
    if content_type is not None:
        given.append(b"Content-Type: " + content_type)
    if length is not None:
        given.append(b"Content-Length: " + (length or b"%d" % len(body)))
    return b"\r\n".join([*given, *lines, b"", b""]) + body


def signed(body: bytes, secret: str = deliveries.SECRET) -> bytes:
    return b"X-MoRAG-Signature: " + deliveries.sign(body, secret).encode()


def exchange(url: str, *parts: bytes | float, seconds: float = 10.0) -> Answer | None:
    """The answer to raw bytes, None where the connection was closed without one; a number is a pause in seconds."""
    where = urlsplit(url)
    with socket.create_connection((where.hostname, where.port), timeout=seconds) as connection:
        try:
            for part in parts:
                if isinstance(part, bytes):
                    connection.sendall(part)
                else:
                    time.sleep(part)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it answered before it had read everything
        return _answer(connection, has_body=not (isinstance(parts[0], bytes) and parts[0].startswith(b"HEAD ")))


def hang_up(url: str, *parts: bytes) -> None:
    """Sends raw bytes and is gone."""
    where = urlsplit(url)
    with socket.create_connection((where.hostname, where.port), timeout=5) as connection:
        for part in parts:
            connection.sendall(part)


def _answer(connection: socket.socket, *, has_body: bool) -> Answer | None:
    received = b""
    head, length = None, 0
    while head is None or len(received) < len(head) + 4 + length:
        try:
            part = connection.recv(65536)
        except ConnectionResetError:
            return None
        if not part:
            break
        received += part
        if head is None and b"\r\n\r\n" in received:
            head = received.partition(b"\r\n\r\n")[0]
            headers = _headers(head.split(b"\r\n")[1:])
            length = int(headers.get("content-length", "0")) if has_body else 0
    if head is None:
        return None
    return Answer(int(head.split(b" ", 2)[1]), headers, received[len(head) + 4 :])


def _headers(lines: Iterable[bytes]) -> dict[str, str]:
    pairs = (line.decode("latin-1").partition(":") for line in lines)
    return {name.lower(): value.strip() for name, _, value in pairs}
