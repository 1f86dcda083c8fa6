"""Webhooks a second, stored, held against servers that store nothing and servers as one would write them.

Each comparison is paired (kit/duel.py): both servers stay up on core 0, wrk on core 1 alternates short slices between
them, and the ratio is taken pair by pair. Exit codes: 0 good, 1 a reach was missed, 2 it cannot be measured here.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Iterator
from typing import Any

from duels import Bodies, Unmeasurable, check_machine, describe_machine, duel, prepare_bodies
from ingest_table import print_table
from peers import NOISE, PEERS, RECEIVER, RECEIVER_STORES, Peer

BODIES_PER_SECOND = 20_000
"""More than any server here stores. A body that comes again would be a duplicate; where nothing is stored it may."""


def main() -> int:
    options = read_options()
    # However it is ended, it ends the servers and removes their databases; a shell's background jobs ignore SIGINT.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        report = compare(options)
    except Unmeasurable as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    if options.json:
        print(json.dumps(report))
    else:
        print_table(report)
    return 0 if report["passed"] else 1


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench ingest", description=__doc__)
    parser.add_argument("--pairs", type=_positive, default=12, help="slices for each side, after one to warm up (12)")
    parser.add_argument("--slice", type=_positive, default=2, help="seconds of a slice (2)")
    parser.add_argument("--connections", type=_positive, default=64, help="held open by wrk (64)")
    parser.add_argument("--bodies", type=_positive, help="distinct webhooks to prepare; default: enough for 20,000/s")
    parser.add_argument("--only", default="", help="only peers whose name contains this")
    parser.add_argument(
        "--noise", action="store_true", help="also the receiver against itself: its spread is the noise"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """All comparisons, one after the other. Raises Unmeasurable."""
    wanted = (*PEERS, NOISE) if options.noise else PEERS
    peers = [peer for peer in wanted if options.only in peer.name]
    if not peers:
        raise Unmeasurable(f"no peer is named like {options.only!r}: {', '.join(peer.name for peer in wanted)}")
    check_machine()
    machine = describe_machine()
    bodies = prepare_bodies(options.bodies or BODIES_PER_SECOND * options.slice * (options.pairs + 1))
    results = [measure(peer, bodies=bodies, options=options) for peer in peers]
    return {
        "receiver": RECEIVER_STORES,
        "machine": machine,
        **{name: getattr(options, name) for name in ("connections", "pairs", "slice")},
        "results": results,
        "passed": all(result["passed"] for result in results),
    }


def measure(peer: Peer, *, bodies: Bodies, options: argparse.Namespace) -> dict[str, Any]:
    """One comparison: each side's figures, the ratio receiver/peer, and whether it is good."""
    sys.stderr.write(f"== {peer.name}: {2 * options.slice * (options.pairs + 1)} s\n")
    result: dict[str, Any] = {"peer": peer.name, "stores": peer.stores, "reach": peer.reach}
    arguments = {name: getattr(options, name) for name in ("pairs", "slice", "connections")}
    try:
        found, stored = duel(
            peer.command, RECEIVER, tables=(peer.table, "webhook_events"), bodies=bodies.path, **arguments
        )
    except Unmeasurable as error:
        return {**result, "problems": [str(error)], "passed": False}
    for side, name in enumerate(("peer_side", "receiver_side")):
        result[name] = {**found["ab"[side]], "bad": found["bad"][side], "stored": stored[side]}
    result |= {key: found[key] for key in ("ratio", "q1", "q3")}
    problems = list(_problems(result, bodies=bodies.count))
    return {**result, "problems": problems, "passed": not problems}


def _problems(result: dict[str, Any], *, bodies: int) -> Iterator[str]:
    if result["reach"] is not None and result["ratio"] < result["reach"]:
        yield f"the ratio is {result['ratio']}, asked are {result['reach']}"
    if result["receiver_side"]["bad"]:
        yield f"the receiver gave {result['receiver_side']['bad']} bad answers"
    if not result["receiver_side"]["stored"]:
        yield "the receiver stored nothing"
    if max(result["peer_side"]["stored"] or 0, result["receiver_side"]["stored"]) > 0.95 * bodies:
        yield "every body was used: some came again, as duplicates; run with more --bodies"


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("expected 1 or more")
    return number


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
