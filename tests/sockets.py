"""A Socket.IO client for tests: the protocol by hand over a real websocket, so that every packet can be looked at."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

from websockets.sync.client import ClientConnection, connect


class Refused(Exception):
    """The server refuses the connection, with this reason."""


class Client:
    """A connected one; `updates` are the task updates so far."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._number = 0
        self._early: list[dict[str, Any]] = []
        self.updates: list[dict[str, Any]] = []

    def receive(self, *, seconds: float = 10.0) -> dict[str, Any]:
        """The next update."""
        if self._early:
            self.updates.append(self._early.pop(0))
            return self.updates[-1]
        while True:
            kind, content = self._packet(seconds)
            if kind == "42":
                name, update = content
                assert name == "task_update"
                self.updates.append(update)
                return update

    def receive_until(self, sequence: int, *, task: str = "task-1", seconds: float = 10.0) -> list[int]:
        """The sequences of a task's updates up to one of them."""
        deadline = time.monotonic() + seconds
        while True:
            update = self.receive(seconds=deadline - time.monotonic())
            if update["task_id"] == task and update["sequence"] >= sequence:
                return [one["sequence"] for one in self.updates if one["task_id"] == task]

    def is_silent(self, *, seconds: float = 0.3) -> bool:
        """Whether nothing more comes in that time."""
        with contextlib.suppress(TimeoutError):
            self.receive(seconds=seconds)
            return False
        return True

    def ask(self, event: str, said: Any) -> Any:
        """The server's acknowledgement of a message."""
        self._number += 1
        self._connection.send(f"42{self._number}{json.dumps([event, said])}")
        while True:
            kind, content = self._packet(10.0)
            if kind == f"43{self._number}":
                return content[0]
            assert kind == "42"
            self._early.append(content[1])

    def _packet(self, seconds: float) -> tuple[str, Any]:
        while (packet := str(self._connection.recv(timeout=max(0.01, seconds)))) == "2":
            self._connection.send("3")
        digits = len(packet) - len(packet.lstrip("0123456789"))
        return packet[:digits], json.loads(packet[digits:]) if packet[digits:] else None


@contextlib.contextmanager
def connected(
    url: str, auth: Any = None, *, path: str = "", headers: dict[str, str] | None = None, origin: str | None = None
) -> Iterator[Client]:
    """A client of the receiver at this URL. Raises Refused with the server's reason."""
    target = f"ws{url.removeprefix('http')}{path}/socket.io/?EIO=4&transport=websocket"
    with connect(target, additional_headers=headers, origin=origin, max_size=None) as connection:  # type: ignore[arg-type]
        assert str(connection.recv(timeout=10)).startswith("0")
        connection.send("40" + ("" if auth is None else json.dumps(auth)))
        answer = str(connection.recv(timeout=10))
        if answer.startswith("44"):
            raise Refused(json.loads(answer[2:])["message"])
        assert answer.startswith("40"), answer
        client = Client(connection)
        # Answered once the last states have been told: what comes then is news.
        assert client.ask("unsubscribe", {"task": "nobody's"}) == {"status": "unsubscribed"}
        yield client
