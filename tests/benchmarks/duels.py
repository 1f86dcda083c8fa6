"""Running kit/duel.py: bodies beforehand, a folder for the databases, and no server left behind."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_KIT = Path(__file__).resolve().with_name("kit")
_FOLDER = Path(os.environ.get("BENCH_DIR") or tempfile.gettempdir()).resolve()
_PORTS = (18080, 18081)
_SYNCHRONOUS_FULL = 2
_OFFSET_BYTES = 8


class Unmeasurable(Exception):
    """It cannot be measured here; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Bodies:
    """Distinct signed webhooks, ready to be sent: `path`.bin and `path`.idx."""

    path: Path
    count: int


def check_machine() -> None:
    """Raises Unmeasurable where a comparison would fail or mean nothing."""
    if not {0, 1} <= os.sched_getaffinity(0):
        raise Unmeasurable("the servers run on core 0 and wrk on core 1: two cores are needed")
    for port in _PORTS:
        with contextlib.closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                raise Unmeasurable(f"port {port} is in use, and the servers to be measured need it")
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        if connection.execute("PRAGMA synchronous").fetchone() != (_SYNCHRONOUS_FULL,):
            raise Unmeasurable("this SQLite does not write with synchronous=FULL by default: peers would be faster")


def describe_machine() -> dict[str, Any]:
    """What the figures hold for, and the load of the last minute; asked before the first comparison."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "filesystem": _filesystem(_FOLDER),
        "load": round(os.getloadavg()[0], 2),
    }


def prepare_bodies(count: int) -> Bodies:
    """At least so many of them, kept for the next run."""
    ready = _FOLDER / "step"
    index = ready.with_suffix(".idx")
    known = index.stat().st_size // _OFFSET_BYTES - 1 if index.exists() else 0
    if known >= count:
        return Bodies(ready, known)
    sys.stderr.write(f"== preparing {count} webhooks\n")
    fresh = _FOLDER / f"step-{os.getpid()}"
    try:
        subprocess.run([sys.executable, _KIT / "make_bodies.py", fresh, "-n", str(count)], check=True)
        index.unlink(missing_ok=True)
        for suffix in (".bin", ".idx"):
            fresh.with_suffix(suffix).replace(ready.with_suffix(suffix))
    finally:
        for suffix in (".bin", ".idx"):
            fresh.with_suffix(suffix).unlink(missing_ok=True)
    return Bodies(ready, count)


def duel(a: str, b: str, *, tables: tuple[str | None, str | None], **options: Any) -> tuple[Any, list[int | None]]:
    """What kit/duel.py says of two commands, and the rows that each side stored (None: it has no table).

    Raises Unmeasurable where a side did not come up.
    """
    with tempfile.TemporaryDirectory(dir=_FOLDER, prefix="databases-", ignore_cleanup_errors=True) as folder:
        arguments = [f"--{name}={value}" for name, value in {"a": a, "b": b, **options}.items()]
        said = _run([sys.executable, _KIT / "duel.py", *arguments], folder=folder)
        return json.loads(said), [_count(Path(folder), side, table) for side, table in zip("ab", tables, strict=True)]


def _run(command: list[Any], *, folder: str) -> str:
    """Its output; ended early, it is asked to end its servers, which a terminal's Ctrl-C would make it fail at."""
    process = subprocess.Popen(
        command,
        env={**os.environ, "BENCH_DIR": folder},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate()
    except BaseException:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        raise
    if "ZeroDivisionError" in err:
        raise Unmeasurable("the peer answered nothing during a whole slice, so there is no ratio; try a longer --slice")
    if process.returncode != 0:
        raise Unmeasurable(err.strip()[-800:])
    return out


def _count(folder: Path, side: str, table: str | None) -> int | None:
    if table is None:
        return None
    (path,) = folder.glob(f"*/{side}.db")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        (rows,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608  # our own names
    return int(rows)


def _filesystem(folder: Path) -> str:
    """The type of the filesystem that a folder is on."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    above = [(point, kind) for point, kind in mounts if folder.is_relative_to(point)]
    return max(above, key=lambda mount: len(mount[0]))[1] if above else "unknown"
