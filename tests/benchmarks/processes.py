"""Two receiver processes on one PostgreSQL, against one. For information: nothing is asked.

Nothing is bound to a core here: receivers, PostgreSQL and wrk share the machine as it is, and on two cores there is
hardly room for a second process. Exit codes: 0 measured, 1 something went wrong, 2 it cannot be measured here.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from typing import Any

from bodies import STEPS, prepare_bodies
from databases import check_database, fresh_database
from inbox import count
from loading import Side, alternate
from machine import check_machine, describe_machine
from peers import receiver
from reporting import (
    add_load_options,
    add_postgres_option,
    build_report,
    compared,
    conditions,
    run_command,
    show_figures,
    troubles,
)
from serving import running

BODIES_PER_SECOND = 40_000
PROCESSES = (1, 2)
SIDES = ("one", "two")


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench processes", description=__doc__)
    add_load_options(parser)
    add_postgres_option(parser)
    return run_command(parser, compare, show_figures)


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Two processes against one. Raises Unmeasurable."""
    check_machine()
    machine = describe_machine() | check_database("postgres", postgres=options.postgres)
    bodies = prepare_bodies(STEPS, count=BODIES_PER_SECOND * options.slice * (options.pairs + 1))
    cores = ",".join(str(core) for core in sorted(os.sched_getaffinity(0)))
    with contextlib.ExitStack() as stack:
        databases = [stack.enter_context(fresh_database("postgres", postgres=options.postgres)) for _ in PROCESSES]
        sides = []
        for number, database in zip(PROCESSES, databases, strict=True):
            command = receiver(database)
            servers = [stack.enter_context(running(command, cores=cores)) for _ in range(number)]
            sides.append(Side(servers, bodies, cores=cores))
        sys.stderr.write(f"== two processes against one: {2 * options.slice * (options.pairs + 1)} s\n")
        found = alternate(*sides, pairs=options.pairs, seconds=options.slice, connections=options.connections)
        complaints = [complaint for side in sides for server in side.servers for complaint in server.complaints()]
        lost = [side.answered - count(database) for side, database in zip(sides, databases, strict=True)]
    return build_report(
        machine=machine,
        figures=compared("two processes / one", found, sides=SIDES),
        problems=[
            *troubles(found, sides=SIDES),
            *(
                f"{name}: {number} answered with 200, and not stored"
                for name, number in zip(SIDES, lost, strict=True)
                if number > 0
            ),
            *complaints,
        ],
        remark=f"{conditions(options)} in all; receivers, PostgreSQL and wrk on {machine['cores']} cores together",
    )


if __name__ == "__main__":
    sys.exit(main())
