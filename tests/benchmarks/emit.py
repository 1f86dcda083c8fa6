"""What `morag-client emit` sends as a load: deliveries a second from core 1, to the floor on core 0.

Each round sends so many tasks of 14 webhooks, signed, each with an id and times of its own, and counts what was
answered. The receiver, storing, and wrk against the floor are there for comparison. Exit codes: 0 good, 1 a reach was
missed, 2 it cannot be measured here.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from bodies import STEPS, prepare_bodies
from databases import check_database, fresh_database
from loading import Side, quartiles
from machine import CLIENT_CORE, Unmeasurable, check_machine, describe_machine
from peers import SECRET, floor, receiver
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

COMMAND = str(Path(sys.executable).with_name("morag-client"))
REACH = 3000
WARMING = 50
"""Tasks."""
PATIENCE = 120.0
"""Seconds that a round may take."""
BODIES = 100_000
"""For wrk, which begins with them anew: the floor stores nothing."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench emit", description=__doc__)
    parser.add_argument("--tasks", type=positive, default=1000, help="in each round (1000)")
    parser.add_argument("--rounds", type=positive, default=5, help="to each server, after one to warm up (5)")
    parser.add_argument("--slice", type=positive, default=2, help="seconds of wrk (2)")
    add_connections_option(parser)
    add_database_options(parser)
    return run_command(parser, measure, show_figures)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The floor, then the receiver. Raises Unmeasurable."""
    check_machine()
    machine = describe_machine() | check_database(options.database, postgres=options.postgres)
    with running(floor()) as server:
        to_floor = _rounds(server, options)
        wrk = Side([server], prepare_bodies(STEPS, count=BODIES)).load(options.slice, connections=options.connections)
    with fresh_database(options.database, postgres=options.postgres) as database, running(receiver(database)) as server:
        to_receiver = _rounds(server, options)
        complaints = server.complaints()
    return build_report(
        machine=machine,
        figures=[
            _figure("to the floor", [one["deliveries_per_second"] for one in to_floor], "/s", least=REACH),
            _figure("to the floor: p99", [one["latency"]["p99"] * 1000 for one in to_floor], "ms"),
            _figure("to the receiver", [one["deliveries_per_second"] for one in to_receiver], "/s"),
            _figure("to the receiver: p99", [one["latency"]["p99"] * 1000 for one in to_receiver], "ms"),
            Figure("wrk to the floor", wrk.rps, "/s"),
        ],
        problems=[
            *complaints,
            *(_trouble(one) for one in (*to_floor, *to_receiver) if one["accepted"] < one["deliveries"]),
        ],
        remark=f"{conditions(options)}; {options.rounds} rounds of {options.tasks} tasks, 14 webhooks a task",
    )


def _rounds(server: Server, options: argparse.Namespace) -> list[dict[str, Any]]:
    sys.stderr.write(f"== {options.rounds} rounds of {options.tasks} tasks\n")
    _emit(server, tasks=WARMING, connections=options.connections)
    return [_emit(server, tasks=options.tasks, connections=options.connections) for _ in range(options.rounds)]


def _emit(server: Server, *, tasks: int, connections: int) -> dict[str, Any]:
    """The report of one command. Raises Unmeasurable where there is none."""
    url = f"http://127.0.0.1:{server.port}/webhook"
    load = ["--tasks", str(tasks), "--concurrency", str(connections), "--max-retries", "0", "--json"]
    done = subprocess.run(
        ["taskset", "-c", CLIENT_CORE, COMMAND, "emit", "--url", url, *load],
        env={**os.environ, "MORAG_WEBHOOK_SECRET": SECRET},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    try:
        report: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise Unmeasurable(f"emit ended with {done.returncode}: {done.stderr.strip()}") from None
    return report


def _trouble(report: dict[str, Any]) -> str:
    missing = report["deliveries"] - report["accepted"]
    return f"{missing} deliveries were not accepted: {report['statuses']} {report['reasons']}"


def _figure(what: str, values: list[float], unit: str, **asked: float) -> Figure:
    q1, median, q3 = quartiles(values)
    return Figure(what, round(median, 3), unit, spread=(round(q1, 3), round(q3, 3)), **asked)


if __name__ == "__main__":
    sys.exit(main())
