"""A receiver's resident memory over a million webhooks: its peak, and whether it grows.

Storing only, or with `--whole-way` also running a trivial handler. Exit codes: 0 good, 1 a reach was missed, 2 it
cannot be measured here.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from bodies import PIPELINES, STEPS, prepare_bodies
from databases import check_database, fresh_database
from inbox import await_drained, count
from loading import Side
from machine import Unmeasurable, check_machine, describe_machine
from peers import receiver
from reporting import (
    Figure,
    add_connections_option,
    add_database_options,
    build_report,
    conditions,
    positive,
    run_command,
    show_figures,
)
from serving import Server, running

MOST = 140.0
"""MB."""
FLAT = 5.0
"""MB more after a million webhooks that still count as none: what an allocator gives back and takes again."""
SETTLING = 0.2
"""The part of the run in which caches fill and pools are made; the slope is that of the rest."""
SLICE = 10
EVERY = 0.5
FEWEST = 10
LONGEST = 1800.0
"""Seconds."""


@dataclass(slots=True)
class Samples:
    """MB at moments, of one server."""

    server: Server
    at: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)

    def take(self) -> None:
        self.at.append(time.monotonic())
        self.megabytes.append(self.server.memory())

    def slope(self) -> float:
        """MB a second by least squares, once it has settled."""
        first = int(len(self.at) * SETTLING)
        if len(self.at) - first < FEWEST:
            raise Unmeasurable(f"{len(self.at)} samples show no slope; send more --events")
        return statistics.linear_regression(self.at[first:], self.megabytes[first:]).slope


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench memory", description=__doc__)
    parser.add_argument("--events", type=positive, default=1_000_000, help="webhooks to send (1,000,000)")
    parser.add_argument("--whole-way", action="store_true", help="run a trivial handler too")
    add_connections_option(parser)
    add_database_options(parser)
    return run_command(parser, watch, show_figures)


def watch(options: argparse.Namespace) -> dict[str, Any]:
    """One receiver under load until it has had its events. Raises Unmeasurable."""
    check_machine()
    machine = describe_machine() | check_database(options.database, postgres=options.postgres)
    kind = PIPELINES if options.whole_way else STEPS
    # The last slice goes beyond what is asked for.
    bodies = prepare_bodies(kind, count=options.events + 20_000 * SLICE)
    sys.stderr.write(f"== {options.events} webhooks\n")
    with (
        fresh_database(options.database, postgres=options.postgres) as database,
        running(receiver(database, handlers=options.whole_way)) as server,
    ):
        samples, side = Samples(server), Side([server], bodies)
        samples.take()
        seconds, bad = send(side, events=options.events, samples=samples, connections=options.connections)
        problems = [f"{bad} bad answers"] if bad else []
        if options.whole_way and await_drained(database, patience=max(60.0, options.events / 1000)) is None:
            problems.append("some records were still not handled long after the load")
        if (stored := count(database)) < side.answered:
            problems.append(f"{side.answered} webhooks were answered with 200, and {stored} are stored")
        problems += server.complaints()
        peak, end = server.memory("VmHWM"), server.memory()
    slope = samples.slope() * seconds / side.answered * 1e6
    return build_report(
        machine=machine,
        figures=[
            Figure("peak", round(peak, 1), "MB", most=MOST),
            Figure("growth over a million", round(slope, 2), "MB", most=FLAT),
            Figure("at the start", round(samples.megabytes[0], 1), "MB"),
            Figure("at the end", round(end, 1), "MB"),
            Figure("webhooks", side.answered),
            Figure("webhooks a second", round(side.answered / seconds), "/s"),
        ],
        problems=problems,
        remark=f"{conditions(options)}; {'stored and handled' if options.whole_way else 'stored only'}",
        samples=[round(megabytes, 1) for megabytes in samples.megabytes],
    )


def send(side: Side, *, events: int, samples: Samples, connections: int) -> tuple[float, int]:
    """How many seconds it took, and the bad answers. Raises Unmeasurable."""
    began, bad = time.monotonic(), 0
    while side.answered < events:
        if time.monotonic() - began > LONGEST:
            raise Unmeasurable(f"{side.answered} webhooks in {LONGEST:g} s; send fewer --events")
        bad += side.load(SLICE, connections=connections, watch=samples.take, every=EVERY).bad
    return time.monotonic() - began, bad


if __name__ == "__main__":
    sys.exit(main())
