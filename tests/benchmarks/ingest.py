"""Webhooks a second, stored, held against servers that store nothing and servers as one would write them.

Each comparison is paired (kit/duel.py): both servers stay up on core 0, wrk on core 1 alternates short slices between
them, and the ratio is taken pair by pair. Exit codes: 0 good, 1 a reach was missed, 2 it cannot be measured here.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from bodies import STEPS, Bodies, prepare_bodies
from databases import KINDS, Database, check_database, fresh_database
from duels import duel
from ingest_table import print_report
from machine import Unmeasurable, check_machine, describe_machine
from peers import NOISE, PEERS, STORES, Peer, receiver
from reporting import add_load_options, add_postgres_option, positive, run_command

BODIES_PER_SECOND = 20_000
"""More than any server here stores. A body that comes again would be a duplicate; where nothing is stored it may."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench ingest", description=__doc__)
    add_load_options(parser)
    parser.add_argument("--bodies", type=positive, help="distinct webhooks to prepare; default: enough for 20,000/s")
    parser.add_argument("--only", default="", help="only peers whose name contains this")
    parser.add_argument(
        "--noise", action="store_true", help="also the receiver against itself: its spread is the noise"
    )
    add_postgres_option(parser)
    return run_command(parser, compare, print_report)


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """All comparisons, one after the other. Raises Unmeasurable."""
    peers = _chosen(options)
    check_machine()
    machine, missing = describe_machine(), {}
    for kind in sorted({peer.database for peer in peers}):
        try:
            machine |= check_database(kind, postgres=options.postgres)
        except Unmeasurable as error:
            missing[kind] = str(error)
    measured = [peer for peer in peers if peer.database not in missing]
    if not measured:
        raise Unmeasurable("; ".join(missing.values()))
    bodies = prepare_bodies(STEPS, count=options.bodies or BODIES_PER_SECOND * options.slice * (options.pairs + 1))
    results = [measure(peer, bodies=bodies, options=options) for peer in measured]
    return {
        "machine": machine,
        "stores": {kind: STORES[kind] for kind in KINDS if any(peer.database == kind for peer in measured)},
        **{name: getattr(options, name) for name in ("connections", "pairs", "slice")},
        "results": results,
        "skipped": [{"peer": peer.name, "why": missing[peer.database]} for peer in peers if peer.database in missing],
        "problems": [f"{result['peer']}: {problem}" for result in results for problem in result["problems"]],
        "passed": all(result["passed"] for result in results),
    }


def measure(peer: Peer, *, bodies: Bodies, options: argparse.Namespace) -> dict[str, Any]:
    """One comparison: each side's figures, the ratio receiver/peer, and whether it is good."""
    sys.stderr.write(f"== {peer.name}: {2 * options.slice * (options.pairs + 1)} s\n")
    result: dict[str, Any] = {
        name: getattr(peer, name) for name in ("database", "stores", "reach", "goal", "p99_reach", "p99_goal")
    }
    result["peer"] = peer.name
    try:
        with (
            fresh_database(peer.database, postgres=options.postgres) as theirs,
            fresh_database(peer.database, postgres=options.postgres) as ours,
        ):
            arguments = {"pairs": options.pairs, "seconds": options.slice, "connections": options.connections}
            found = duel(peer.command(theirs), receiver(ours), bodies=bodies, **arguments)
            stored = (_count(theirs, peer.table), _count(ours, "webhook_events"))
    except Unmeasurable as error:
        return {**result, "problems": [str(error)], "passed": False}
    for side, name in enumerate(("peer_side", "receiver_side")):
        result[name] = {**found["ab"[side]], "bad": found["bad"][side], "stored": stored[side]}
    result |= {key: found[key] for key in ("ratio", "q1", "q3")}
    result["p99_ratio"] = round(found["b"]["p99_ms"] / found["a"]["p99_ms"], 2)
    problems = list(_problems(result, bodies=bodies.count))
    return {**result, "problems": problems, "passed": not problems}


def _chosen(options: argparse.Namespace) -> Sequence[Peer]:
    wanted = (*PEERS, *NOISE) if options.noise else PEERS
    peers = [peer for peer in wanted if options.only in peer.name]
    if not peers:
        raise Unmeasurable(f"no peer is named like {options.only!r}: {', '.join(peer.name for peer in wanted)}")
    return peers


def _count(database: Database, table: str | None) -> int | None:
    if table is None:
        return None
    return int(database.ask(f"SELECT count(*) FROM {table}")[0][0])  # noqa: S608  # our own names


def _problems(result: dict[str, Any], *, bodies: int) -> Iterator[str]:
    if result["reach"] is not None and result["ratio"] < result["reach"]:
        yield f"the ratio is {result['ratio']}, asked are {result['reach']}"
    if result["p99_reach"] is not None and result["p99_ratio"] > result["p99_reach"]:
        yield f"its p99 is {result['p99_ratio']} times the floor's, asked are at most {result['p99_reach']}"
    if result["receiver_side"]["bad"]:
        yield f"the receiver gave {result['receiver_side']['bad']} bad answers"
    if not result["receiver_side"]["stored"]:
        yield "the receiver stored nothing"
    if max(result["peer_side"]["stored"] or 0, result["receiver_side"]["stored"]) > 0.95 * bodies:
        yield "every body was used: some came again, as duplicates; run with more --bodies"


if __name__ == "__main__":
    sys.exit(main())
