"""Reading the bodies that a command line names."""

from __future__ import annotations

import sys
from pathlib import Path


def read_body(name: str) -> bytes:
    """The bytes of a file, of stdin for `-`. Raises OSError."""
    return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()


def printable(name: str) -> str:
    """A file's name, whatever bytes it is made of."""
    return name.encode("utf-8", "replace").decode()
