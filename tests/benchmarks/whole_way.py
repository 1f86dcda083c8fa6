"""The whole way of webhooks, sustained: stored, a trivial handler run, settled, the state of their tasks projected.

Each round has a fresh inbox and a receiver that gets all it can take for a minute; the rate is that of the records
handled, over the load and the time until none is left. It is held against the floor's slices just before and after.
Exit codes: 0 good, 1 a reach was missed, 2 it cannot be measured here.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
from typing import Any

from bodies import PIPELINES, prepare_bodies
from databases import check_database
from loading import Side, quartiles
from machine import check_machine, describe_machine
from peers import floor
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
from serving import running
from sustaining import sustain

BODIES_PER_SECOND = 20_000
REACH, GOAL = 0.18, 0.35
MEASURED = (
    ("handled", "/s"),
    ("answered with 200", "/s"),
    ("p50", "ms"),
    ("p99", "ms"),
    ("drained after", "s"),
    ("most waiting", ""),
    ("memory", "MB"),
    ("longest sampling", "ms"),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench whole-way", description=__doc__)
    parser.add_argument("--seconds", type=positive, default=60, help="of load in each round (60)")
    parser.add_argument("--rounds", type=positive, default=3, help="each with an inbox of its own (3)")
    parser.add_argument("--slice", type=positive, default=4, help="seconds of the floor's slices between them (4)")
    add_connections_option(parser)
    add_database_options(parser)
    return run_command(parser, measure, show_figures)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All rounds, with the floor between them. Raises Unmeasurable."""
    check_machine()
    machine = describe_machine() | check_database(options.database, postgres=options.postgres)
    bodies = prepare_bodies(PIPELINES, count=BODIES_PER_SECOND * options.seconds)
    rounds: list[dict[str, Any]] = []
    with running(floor()) as server:
        beside = Side([server], bodies)
        beside.load(options.slice, connections=options.connections)
        floors = [beside.load(options.slice, connections=options.connections)]
        for number in range(options.rounds):
            sys.stderr.write(f"== round {number + 1} of {options.rounds}: {options.seconds} s\n")
            rounds.append(sustain(options, bodies=bodies))
            floors.append(beside.load(options.slice, connections=options.connections))
    around = [statistics.mean((before.rps, after.rps)) for before, after in itertools.pairwise(floors)]
    ratios = [found["handled"] / rate for found, rate in zip(rounds, around, strict=True)]
    return build_report(
        machine=machine,
        figures=[
            _figure("handled / floor", ratios, least=REACH, goal=GOAL),
            *(_figure(name, [found[name] for found in rounds], unit) for name, unit in MEASURED),
            _figure("floor: requests", [one.rps for one in floors], "/s"),
            _figure("floor: p99", [one.p99_ms for one in floors], "ms"),
        ],
        problems=[f"round {number}: {trouble}" for number, one in enumerate(rounds, 1) for trouble in one["problems"]],
        remark=f"{conditions(options)}; {options.rounds} rounds of {options.seconds} s, 14 events a task",
        rounds=rounds,
    )


def _figure(what: str, values: list[float], unit: str = "", **asked: float) -> Figure:
    q1, median, q3 = quartiles(values)
    return Figure(what, round(median, 3), unit, spread=(round(q1, 3), round(q3, 3)), **asked)


if __name__ == "__main__":
    sys.exit(main())
