"""`morag-client` at a terminal, which somebody types at."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
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
