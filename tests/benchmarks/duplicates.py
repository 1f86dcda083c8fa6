"""Webhooks a second where every second one is a duplicate, against none.

A duplicate comes 50,001 requests after its original. Two receivers stay up on core 0, wrk on core 1 alternates short
slices between them. Exit codes: 0 good, 1 duplicates are slower, 2 it cannot be measured here.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from bodies import APART, DUPLICATES, STEPS, prepare_bodies
from databases import check_database, fresh_database
from inbox import count
from loading import Side, alternate
from machine import Unmeasurable, check_machine, describe_machine
from peers import receiver
from reporting import (
    Figure,
    add_database_options,
    add_load_options,
    build_report,
    compared,
    conditions,
    run_command,
    show_figures,
    troubles,
)
from serving import running

BODIES_PER_SECOND = 20_000
SIDES = ("none", "half")
SAME = 0.97
"""A median ratio that counts as no slower: two runs of one receiver differ by as much."""
SHARE = 0.40
"""The least share of duplicates with which half of them were repeated: a slice's last requests are never sent."""
WARMING = 60
"""Slices until every further duplicate has its original in the inbox."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench duplicates", description=__doc__)
    add_load_options(parser)
    add_database_options(parser)
    return run_command(parser, compare, show_figures)


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Half duplicates against none. Raises Unmeasurable."""
    check_machine()
    machine = describe_machine() | check_database(options.database, postgres=options.postgres)
    wanted = APART + BODIES_PER_SECOND * options.slice * (options.pairs + 2)
    bodies = {kind.name: prepare_bodies(kind, count=wanted) for kind in (STEPS, DUPLICATES)}
    with (
        fresh_database(options.database, postgres=options.postgres) as plain,
        fresh_database(options.database, postgres=options.postgres) as repeated,
        running(receiver(plain)) as one,
        running(receiver(repeated)) as other,
    ):
        without, half = Side([one], bodies[STEPS.name]), Side([other], bodies[DUPLICATES.name])
        for side in (without, half):
            warm_up(side, options)
        sys.stderr.write(f"== duplicates against none: {2 * options.slice * (options.pairs + 1)} s\n")
        found = alternate(without, half, pairs=options.pairs, seconds=options.slice, connections=options.connections)
        share = (half.answered - count(repeated)) / max(1, half.answered - APART)
        complaints = [*one.complaints(), *other.complaints()]
    slower = found["q3"] < 1 and found["ratio"] < SAME
    return build_report(
        machine=machine,
        figures=[
            *compared("half duplicates / none", found, sides=SIDES),
            Figure("share of duplicates", round(share, 3), least=SHARE),
        ],
        problems=[*(["duplicates are slower"] if slower else []), *troubles(found, sides=SIDES), *complaints],
        remark=f"{conditions(options)}; not slower: the third quartile is 1 or more, or the median {SAME} or more",
    )


def warm_up(side: Side, options: argparse.Namespace) -> None:
    """Sends the originals of the first duplicates. Raises Unmeasurable."""
    sys.stderr.write(f"== warming up: the first {APART} webhooks\n")
    for _ in range(WARMING):
        side.load(options.slice, connections=options.connections)
        if side.sent >= APART:
            return
    raise Unmeasurable(f"the receiver took fewer than {APART} webhooks in {WARMING * options.slice} s")


if __name__ == "__main__":
    sys.exit(main())
