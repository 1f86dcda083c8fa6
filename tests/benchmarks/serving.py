"""A server under test: started on its core, and ended however the measuring ends.

kit/duel.py starts its two by itself; this is for what is measured otherwise.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from machine import FOLDER, SERVER_CORE, Unmeasurable

_PATIENCE = 30.0
"""Seconds, for a start and for an end."""
_SHOWN = 800
_MOST_SAID = 1 << 20


@dataclass(frozen=True, slots=True)
class Server:
    """A running one."""

    port: int
    process: subprocess.Popen[bytes]
    said: IO[bytes] = field(repr=False)

    def memory(self, field_name: str = "VmRSS") -> float:
        """MB of its memory that are resident; `VmHWM` for the most there ever were. Raises Unmeasurable."""
        if self.process.poll() is not None:
            raise Unmeasurable(f"a server ended under load, with {self.process.returncode}: {self.last_words()}")
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith(f"{field_name}:")]
        return int(line.split()[1]) * 1024 / 1e6

    def complaints(self) -> list[str]:
        """What it logged as an error, the first lines."""
        lines = self._read().splitlines()
        return [line.strip()[:_SHOWN] for line in lines if " ERROR " in line or line.startswith("Traceback")][:3]

    def last_words(self) -> str:
        """The end of what it logged."""
        return self._read().strip()[-_SHOWN:]

    def _read(self) -> str:
        # Without moving the place at which the server, which shares this file, goes on writing.
        return os.pread(self.said.fileno(), _MOST_SAID, 0).decode(errors="replace")


@contextlib.contextmanager
def running(command: str, *, cores: str = SERVER_CORE) -> Iterator[Server]:
    """A server that accepts connections; `command` leaves room for its {port}. Raises Unmeasurable."""
    port = _free_port()
    argv = ["taskset", "-c", cores, *shlex.split(command.format(port=port))]
    with tempfile.TemporaryFile(dir=FOLDER) as said:
        process = subprocess.Popen(argv, start_new_session=True, stdout=subprocess.DEVNULL, stderr=said)
        server = Server(port, process, said)
        try:
            _await_start(server)
            yield server
        finally:
            _end(process)


def _await_start(server: Server) -> None:
    latest = time.monotonic() + _PATIENCE
    while time.monotonic() < latest:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", server.port), 0.5).close()
            return
        if server.process.poll() is not None:
            raise Unmeasurable(f"a server ended at its start, with {server.process.returncode}: {server.last_words()}")
        time.sleep(0.1)
    raise Unmeasurable(f"a server was not up within {_PATIENCE:g} s")


def _end(process: subprocess.Popen[bytes]) -> None:
    """By SIGTERM; by SIGKILL whom that does not end."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE)
            return


def _free_port() -> int:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port: int = listener.getsockname()[1]
        return port
