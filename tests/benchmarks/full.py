"""Webhooks a second, stored, with a million records in the inbox, against an empty one.

Both receivers stay up on core 0, wrk on core 1 alternates short slices between them (kit/duel.py). The full inbox has
handled records, with their runs and tasks. Exit codes: 0 good, 1 a reach was missed, 2 it cannot be measured here.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from bodies import STEPS, prepare_bodies
from databases import check_database, fresh_database
from duels import duel
from inbox import count, fill_inbox
from machine import check_machine, describe_machine
from peers import receiver
from reporting import (
    add_database_options,
    add_load_options,
    build_report,
    compared,
    conditions,
    positive,
    run_command,
    show_figures,
    troubles,
)

BODIES_PER_SECOND = 20_000
REACH, GOAL = 0.70, 0.90
SIDES = ("empty", "full")


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench full", description=__doc__)
    add_load_options(parser)
    parser.add_argument("--rows", type=positive, default=1_000_000, help="records in the full inbox (1,000,000)")
    add_database_options(parser)
    return run_command(parser, compare, show_figures)


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """The full inbox against the empty one. Raises Unmeasurable."""
    check_machine()
    machine = describe_machine() | check_database(options.database, postgres=options.postgres)
    bodies = prepare_bodies(STEPS, count=BODIES_PER_SECOND * options.slice * (options.pairs + 1))
    with (
        fresh_database(options.database, postgres=options.postgres) as empty,
        fresh_database(options.database, postgres=options.postgres) as full,
    ):
        rows = fill_inbox(full, rows=options.rows)
        sys.stderr.write(f"== full against empty: {2 * options.slice * (options.pairs + 1)} s\n")
        arguments = {"pairs": options.pairs, "seconds": options.slice, "connections": options.connections}
        found = duel(receiver(empty), receiver(full), bodies=bodies, **arguments)
        stored = (count(empty), count(full) - rows)
    return build_report(
        machine=machine,
        figures=compared("full / empty", found, sides=SIDES, least=REACH, goal=GOAL),
        problems=[
            *troubles(found, sides=SIDES),
            *(f"{name}: nothing was stored" for name, number in zip(SIDES, stored, strict=True) if not number),
        ],
        remark=f"{conditions(options)}; {rows:,} records in the full inbox",
        rows=rows,
    )


if __name__ == "__main__":
    sys.exit(main())
