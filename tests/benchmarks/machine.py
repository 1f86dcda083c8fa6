"""Whether this machine can tell anything, and what the figures hold for."""

from __future__ import annotations

import contextlib
import os
import platform
import socket
import sqlite3
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ.get("BENCH_DIR") or tempfile.gettempdir()).resolve()
"""Where bodies and databases lie."""
SERVER_CORE = "0"
CLIENT_CORE = "1"
_SYNCHRONOUS_FULL = 2


class Unmeasurable(Exception):
    """It cannot be measured here; the message says what to do."""


def check_machine() -> None:
    """Raises Unmeasurable where a comparison would mean nothing."""
    if not {int(SERVER_CORE), int(CLIENT_CORE)} <= os.sched_getaffinity(0):
        raise Unmeasurable("the servers run on core 0 and wrk on core 1: two cores are needed")
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        if connection.execute("PRAGMA synchronous").fetchone() != (_SYNCHRONOUS_FULL,):
            raise Unmeasurable("this SQLite does not write with synchronous=FULL by default: peers would be faster")


def check_ports(*ports: int) -> None:
    """Raises Unmeasurable where somebody listens on one already."""
    for port in ports:
        with contextlib.closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                raise Unmeasurable(f"port {port} is in use, and the servers to be measured need it")


def describe_machine() -> dict[str, Any]:
    """What the figures hold for, and the load of the last minute; asked before the first comparison."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "filesystem": _filesystem(FOLDER),
        "load": round(os.getloadavg()[0], 2),
    }


def _filesystem(folder: Path) -> str:
    """The type of the filesystem that a folder is on."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    above = [(point, kind) for point, kind in mounts if folder.is_relative_to(point)]
    return max(above, key=lambda mount: len(mount[0]))[1] if above else "unknown"
