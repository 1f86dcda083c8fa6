"""Running kit/duel.py: no server is left behind, and no run is without an end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bodies import Bodies
from machine import FOLDER, Unmeasurable, check_ports

_RUNNER = Path(__file__).resolve().with_name("kit") / "duel.py"
_PORTS = (18080, 18081)
_PATIENCE = 180.0
"""Seconds beyond its slices that a run may take: two servers come up and go down."""


def duel(a: str, b: str, *, bodies: Bodies, pairs: int, seconds: int, connections: int) -> dict[str, Any]:
    """What kit/duel.py says of two commands, b/a: `ratio`, `q1`, `q3`, a dict for each side, and `bad` for both.

    Raises Unmeasurable where a side did not come up, or answered nothing.
    """
    check_ports(*_PORTS)
    given = {"a": a, "b": b, "bodies": bodies.path, "pairs": pairs, "slice": seconds, "connections": connections}
    command = [sys.executable, str(_RUNNER), *(f"--{name}={value}" for name, value in given.items())]
    with tempfile.TemporaryDirectory(dir=FOLDER, prefix="duel-", ignore_cleanup_errors=True) as folder:
        try:
            found: dict[str, Any] = json.loads(
                _run(command, folder=folder, patience=2 * seconds * (pairs + 1) + _PATIENCE)
            )
        finally:
            _end_left_behind(folder)
    return found


def _run(command: list[str], *, folder: str, patience: float) -> str:
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
        out, err = process.communicate(timeout=patience)
    except BaseException as error:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        if isinstance(error, subprocess.TimeoutExpired):
            raise Unmeasurable(f"kit/duel.py did not end within {patience:g} s") from error
        raise
    if "ZeroDivisionError" in err:
        raise Unmeasurable("a server answered nothing during a whole slice, so there is no ratio; try a longer --slice")
    if process.returncode != 0:
        raise Unmeasurable(err.strip()[-800:])
    return out


def _end_left_behind(folder: str) -> None:
    """The runner forgets a server that it started and that never came up; all of its processes know this folder."""
    mark = f"BENCH_DIR={folder}".encode()
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark in environment.read_bytes().split(b"\0"):
                os.kill(int(environment.parent.name), signal.SIGKILL)
