"""`morag-client` at a terminal, which somebody types at."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import commands
import deliveries


class Done(NamedTuple):
    returncode: int
    shown: str
    """Everything that the terminal was told, escape sequences too."""


def run(folder: Path, *arguments: str, typed: str = "", columns: int = 100) -> Done:
    """Runs the command, with what is typed ahead, until it ends."""
    ours, its = pty.openpty()
    try:
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        process = subprocess.Popen(
            [commands.COMMAND, *arguments],
            cwd=folder,
            env=commands.environment(secret=deliveries.SECRET, TERM="xterm"),
            stdin=its,
            stdout=its,
            stderr=its,
        )
        os.close(its)
        os.write(ours, typed.encode())
        shown = b""
        try:
            while part := os.read(ours, 65536):
                shown += part
        except OSError:  # how Linux says that nobody has the other end any more
            pass
        return Done(process.wait(20), shown.decode())
    finally:
        os.close(ours)


class Terminal:
    """A terminal in which a command runs; `shown` is what it was told so far."""

    def __init__(self, ours: int, process: subprocess.Popen[bytes]) -> None:
        self._ours = ours
        self._process = process
        self.shown = ""

    def until(self, pattern: str, *, seconds: float = 20.0) -> None:
        """Reads until the text without escape sequences has the pattern; fails after so long."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.plain):
            assert time.monotonic() < deadline, self.plain[-2000:]
            if not self._read():
                assert re.search(pattern, self.plain), self.plain[-2000:]
                return

    def press(self, keys: bytes) -> None:
        """`\x03` is Ctrl-C, which the terminal makes a signal of."""
        os.write(self._ours, keys)

    def signal(self, number: int) -> None:
        """Sends a signal, from outside of the terminal."""
        self._process.send_signal(number)

    def end(self) -> int:
        """The exit code, once the command has ended and everything was read."""
        deadline = time.monotonic() + 20
        while self._read():
            assert time.monotonic() < deadline, self.plain
        return self._process.wait(20)

    @property
    def plain(self) -> str:
        """What was shown, without escape sequences."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.shown)

    @property
    def screen(self) -> str:
        """What is to be seen: as shown, with what was erased or written over gone."""
        rows, row, column = [""], 0, 0
        for told in re.findall(r"\x1b\[\??[0-9;]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", self.shown):
            if told == "\r":
                column = 0
            elif told == "\n":
                row, column = row + 1, 0
                rows += [""] * (row + 1 - len(rows))
            elif told.startswith("\x1b"):
                row -= int(told[2:-1] or 1) if told.endswith("A") else 0
                rows[row] = "" if told == "\x1b[2K" else rows[row]
            else:
                rows[row] = rows[row][:column].ljust(column) + told + rows[row][column + len(told) :]
                column += len(told)
        return "\n".join(rows)

    def _read(self) -> bool:
        if not select.select([self._ours], [], [], 0.2)[0]:
            return True
        try:
            part = os.read(self._ours, 65536)
        except OSError:  # how Linux says that nobody has the other end any more
            return False
        self.shown += part.decode(errors="replace")
        return bool(part)


@contextlib.contextmanager
def opened(folder: Path, *arguments: str, columns: int = 100, lines: int = 40, **variables: str) -> Iterator[Terminal]:
    """The command in a terminal of its own, whose keys it takes; it is killed in the end if it still runs."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    process = subprocess.Popen(
        # With a session of its own, or Ctrl-C would be nobody's.
        ["setsid", "--ctty", commands.COMMAND, *arguments],
        cwd=folder,
        env=commands.environment(secret=None, TERM="xterm", LC_ALL="C.UTF-8", **variables),
        stdin=its,
        stdout=its,
        stderr=its,
    )
    os.close(its)
    try:
        yield Terminal(ours, process)
    finally:
        process.kill()
        process.wait(20)
        os.close(ours)
