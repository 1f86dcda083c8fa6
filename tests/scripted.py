"""An HTTP server that answers byte by byte as a test says: one scene for each request, the last one for ever."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Asked:
    """A request as it came; of its body only the size and the first 64 KiB are kept."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    size: int


Scene = Callable[[socket.socket, Asked], None]


class Scripted:
    """What was asked so far, and where it listens."""

    def __init__(self, listening: socket.socket, scenes: tuple[Scene, ...]) -> None:
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self.asked: list[Asked] = []
        self._listening = listening
        self._scenes = list(scenes)
        self._lock = threading.Lock()

    @property
    def targets(self) -> list[str]:
        return [one.target for one in self.asked]

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                threading.Thread(target=self._play, args=(connection,), daemon=True).start()

    def _play(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(20)
            head = b""
            while b"\r\n\r\n" not in head:
                if not (piece := connection.recv(65536)):
                    return
                head += piece
            asked, scene = self._take(*head.split(b"\r\n\r\n", 1), connection)
            scene(connection, asked)

    def _take(self, head: bytes, body: bytes, connection: socket.socket) -> tuple[Asked, Scene]:
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        with self._lock:
            scene = self._scenes.pop(0) if len(self._scenes) > 1 else self._scenes[0]
        size = len(body)
        wanted = 0 if getattr(scene, "is_early", False) else int(headers.get("content-length", "0"))
        while size < wanted and (piece := connection.recv(1 << 20)):
            size += len(piece)
            body += piece[: max(0, 65536 - len(body))]
        asked = Asked(method, target, headers, body[:65536], size)
        with self._lock:
            self.asked.append(asked)
        return asked, scene


@contextlib.contextmanager
def scripted(*scenes: Scene) -> Iterator[Scripted]:
    """A server that plays these scenes."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        server = Scripted(listening, scenes)
        thread = threading.Thread(target=server.serve, daemon=True)
        thread.start()
        yield server
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def says(content: Any, status: int = 200, /, **headers: str) -> Scene:
    """An answer; what is no bytes is JSON, and a header `retry_after` is Retry-After."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    said = {"content-type": "application/json", "content-length": str(len(body))}
    said |= {name.replace("_", "-"): value for name, value in headers.items()}
    return sends(head(status, **said) + body)


def head(status: int = 200, /, **headers: str) -> bytes:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} Said\r\n{lines}connection: close\r\n\r\n".encode()


def sends(*pieces: bytes, pause: float = 0.0, resets: bool = False) -> Scene:
    """These bytes, with a pause after each, and then the connection is closed, or reset."""

    def scene(connection: socket.socket, asked: Asked) -> None:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(pause)
        if resets:
            time.sleep(0.05)  # or what was sent would be thrown away with the connection
            reset(connection, asked)

    return scene


def reset(connection: socket.socket, _asked: Asked) -> None:
    """The connection is reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def early(scene: Scene) -> Scene:
    """A scene that does not wait for the request's body."""

    def played(connection: socket.socket, asked: Asked) -> None:
        scene(connection, asked)

    played.is_early = True  # type: ignore[attr-defined]
    return played


def hangs(_connection: socket.socket, _asked: Asked) -> None:
    """Nothing comes for a long time."""
    time.sleep(5)
