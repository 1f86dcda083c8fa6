"""One round of `scripts/bench whole-way`: a receiver with a handler under load, until nothing is left to handle."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bodies import Bodies
from databases import Database, fresh_database
from inbox import await_drained, count, count_waiting
from loading import Side, Slice
from peers import receiver
from serving import running

EVERY = 2.0
"""Seconds between two questions for what waits: each costs something on the core that wrk is on."""
DRAIN = 60.0
"""Seconds, or as long as the load took."""
GROWING = 1.0
"""Seconds' worth of work that the last third of a round may have waiting more than the first."""


@dataclass(slots=True)
class Waiting:
    """How many records waited, each time it was asked, and how many seconds the asking took."""

    database: Database
    numbers: list[int] = field(default_factory=list)
    took: list[float] = field(default_factory=list)

    def ask(self) -> None:
        began = time.monotonic()
        self.numbers.append(count_waiting(self.database))
        self.took.append(time.monotonic() - began)

    def growth(self) -> float:
        """From the first third's median to the last's."""
        third = len(self.numbers) // 3
        if not third:
            return 0.0
        return statistics.median(self.numbers[-third:]) - statistics.median(self.numbers[:third])


def sustain(options: argparse.Namespace, *, bodies: Bodies) -> dict[str, Any]:
    """One round's figures and `problems`. Raises Unmeasurable where the receiver does not come up."""
    with (
        fresh_database(options.database, postgres=options.postgres) as database,
        running(receiver(database, handlers=True)) as server,
    ):
        waiting = Waiting(database)
        side = Side([server], bodies)
        load = side.load(options.seconds, connections=options.connections, watch=waiting.ask, every=EVERY)
        patience = max(DRAIN, options.seconds)
        drained = await_drained(database, patience=patience)
        handled = count(database, "state = 'handled'")
        rate = handled / (load.seconds + (patience if drained is None else drained))
        problems = list(_problems(database, load=load, handled=handled, drained=drained))
        if (growth := waiting.growth()) > GROWING * rate:
            problems.append(f"ever more records waited: {growth:.0f} more in the last third than in the first")
        return {
            "handled": round(rate, 1),
            "answered with 200": load.rps,
            "p50": load.p50_ms,
            "p99": load.p99_ms,
            "drained after": round(patience if drained is None else drained, 2),
            "most waiting": max(waiting.numbers, default=0),
            "memory": round(server.memory("VmHWM"), 1),
            "longest sampling": round(max(waiting.took, default=0.0) * 1000, 1),
            "waiting": waiting.numbers,
            "problems": [*problems, *server.complaints()],
        }


def _problems(database: Database, *, load: Slice, handled: int, drained: float | None) -> Iterator[str]:
    if load.bad:
        yield f"{load.bad} bad answers"
    if load.wrapped:
        yield "every body was used: some came again, as duplicates"
    if drained is None:
        yield "some records were still waiting long after the load"
    if handled < load.answered:
        yield f"{load.answered} webhooks were answered with 200, and {handled} were handled"
    if (runs := count(database, table="webhook_handler_runs")) != handled:
        yield f"{handled} records were handled, and there are {runs} runs"
    completed = count(database, "name = 'task.completed' AND state = 'handled'")
    projected = count(database, "state = 'completed'", table="webhook_tasks")
    if projected != completed:
        yield f"{completed} tasks were completed, and {projected} are said to be"
