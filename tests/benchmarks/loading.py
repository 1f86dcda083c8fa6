"""Load by wrk, as kit/duel.py makes it, for what that runner does not: bodies of each side's own, several servers on a
side, and something to watch meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bodies import Bodies
from machine import CLIENT_CORE, Unmeasurable
from serving import Server

_SCRIPT = Path(__file__).resolve().with_name("kit") / "post.lua"
_PATIENCE = 30.0
"""Seconds beyond its own that wrk may take."""


@dataclass(frozen=True, slots=True)
class Slice:
    """What wrk says of some seconds: answers of 200 a second, and how long they took."""

    rps: float
    p50_ms: float
    p99_ms: float
    seconds: float
    answered: int
    sent: int
    bad: int
    wrapped: int


@dataclass(slots=True)
class Side:
    """Servers that share their load, and how far each is in its part of the bodies."""

    servers: Sequence[Server]
    bodies: Bodies
    cores: str = CLIENT_CORE
    answered: int = field(default=0, init=False)
    _sent: list[int] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._sent = [0] * len(self.servers)

    @property
    def sent(self) -> int:
        return sum(self._sent)

    def load(
        self, seconds: int, *, connections: int, watch: Callable[[], None] | None = None, every: float = 2.0
    ) -> Slice:
        """As much as the servers take; meanwhile `watch` is called every so many seconds. Raises Unmeasurable."""
        with contextlib.ExitStack() as stack:
            loads = [
                stack.enter_context(self._wrk(number, seconds=seconds, connections=connections // len(self.servers)))
                for number in range(len(self.servers))
            ]
            _wait(loads, seconds=seconds, watch=watch, every=every)
            said = [_read(load) for load in loads]
        for number, one in enumerate(said):
            self._sent[number] += one["sent"]
        joined = _joined(said)
        self.answered += joined.answered
        return joined

    @contextlib.contextmanager
    def _wrk(self, number: int, *, seconds: int, connections: int) -> Iterator[subprocess.Popen[str]]:
        begin = number * self.bodies.count // len(self.servers) + self._sent[number]
        url = f"http://127.0.0.1:{self.servers[number].port}/webhook"
        with subprocess.Popen(
            ["taskset", "-c", self.cores, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", _SCRIPT, url],
            env={**os.environ, "BODIES": str(self.bodies.path), "START": str(begin)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()


def alternate(a: Side, b: Side, *, pairs: int, seconds: int, connections: int) -> dict[str, Any]:
    """Slices of both, A B B A … so that what fades or grows during the run falls on both; the first pair warms up.

    Told as kit/duel.py tells it: b/a as `ratio`, `q1`, `q3`, a dict for each side, `bad` and `wrapped`.
    """
    found = []
    for number in range(-1, pairs):
        slices: dict[int, Slice] = {}
        for side in (a, b) if number % 2 else (b, a):
            slices[id(side)] = side.load(seconds, connections=connections)
        if number >= 0:
            found.append((slices[id(a)], slices[id(b)]))
    sides = tuple(zip(*found, strict=True))
    q1, median, q3 = quartiles([theirs.rps / ours.rps if ours.rps else 0.0 for ours, theirs in found])
    return {
        "ratio": round(median, 3),
        "q1": round(q1, 3),
        "q3": round(q3, 3),
        **dict(zip("ab", map(_medians, sides), strict=True)),
        "bad": [sum(one.bad for one in side) for side in sides],
        "wrapped": sum(one.wrapped for side in sides for one in side),
    }


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """The first, the median and the third, as kit/duel.py takes them."""
    ordered = sorted(values)
    return ordered[len(ordered) // 4], statistics.median(ordered), ordered[3 * len(ordered) // 4]


def _medians(slices: Sequence[Slice]) -> dict[str, float]:
    return {
        name: round(statistics.median(getattr(one, name) for one in slices), 2) for name in ("rps", "p50_ms", "p99_ms")
    }


def _wait(
    loads: Sequence[subprocess.Popen[str]], *, seconds: int, watch: Callable[[], None] | None, every: float
) -> None:
    latest = time.monotonic() + seconds + _PATIENCE
    due = time.monotonic() + every
    while any(load.poll() is None for load in loads):
        if time.monotonic() > latest:
            raise Unmeasurable(f"wrk was asked for {seconds} s and did not end within {seconds + _PATIENCE:g} s")
        if watch and time.monotonic() > due:
            watch()
            due += every
        time.sleep(0.02)


def _read(load: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = load.communicate()
    lines = [line for line in out.splitlines() if line.startswith("{")]
    if not lines:
        raise Unmeasurable(f"wrk said: {out.strip()[-400:]}")
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def _joined(said: Sequence[dict[str, Any]]) -> Slice:
    """One for all servers of a side; of several, the slowest's times."""
    total = {
        name: sum(one[name] for one in said)
        for name in ("requests", "sent", "wrapped", "bad_status", "sock_err", "timeout")
    }
    return Slice(
        rps=sum(one["rps"] for one in said),
        p50_ms=max(one["p50_ms"] for one in said),
        p99_ms=max(one["p99_ms"] for one in said),
        seconds=max(one["dur_s"] for one in said),
        answered=total["requests"] - total["bad_status"],
        sent=total["sent"],
        bad=total["bad_status"] + total["sock_err"],
        wrapped=total["wrapped"],
    )
