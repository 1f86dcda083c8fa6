"""The report of `scripts/bench ingest` for people."""

from __future__ import annotations

from typing import Any

from databases import TITLES
from reporting import print_machine, print_outcome, print_table

_COLUMNS = (
    "peer",
    "its requests/s",
    "p50 / p99 ms",
    "receiver's",
    "p50 / p99 ms",
    "ratio (quartiles)",
    "asked (goal)",
    "p99 ratio",
    "asked (goal)",
    "bad",
)


def print_report(report: dict[str, Any]) -> None:
    """Prints what was compared, a row a peer, and what is wrong."""
    print_machine(report["machine"])
    print(
        f"One server process on one core, wrk on another; {report['pairs']} pairs of {report['slice']} s,"
        f" {report['connections']} connections, signed step webhooks, each sent once."
    )
    for kind, stores in report["stores"].items():
        print(f"This receiver stores, with {TITLES[kind]}: {stores}.")
    for result in report["results"]:
        print(f"{result['peer']} stores: {result['stores']}.")
    print_table(_COLUMNS, [_row(result) for result in report["results"]])
    for skipped in report["skipped"]:
        print(f"{skipped['peer']}: skipped: {skipped['why']}")
    print_outcome(report)


def _row(result: dict[str, Any]) -> tuple[str, ...]:
    asked = _asked(">=", result["reach"], result["goal"])
    if "ratio" not in result:
        return (result["peer"], "", "", "", "", "not measured", asked, "", "", "")
    peer, receiver = result["peer_side"], result["receiver_side"]
    return (
        result["peer"],
        f"{peer['rps']:,.0f}",
        f"{peer['p50_ms']:.1f} / {peer['p99_ms']:.1f}",
        f"{receiver['rps']:,.0f}",
        f"{receiver['p50_ms']:.1f} / {receiver['p99_ms']:.1f}",
        f"{result['ratio']:.2f} ({result['q1']:.2f} to {result['q3']:.2f})",
        asked,
        f"{result['p99_ratio']:.1f}",
        _asked("<=", result["p99_reach"], result["p99_goal"]),
        f"{peer['bad']} / {receiver['bad']}",
    )


def _asked(sign: str, reach: float | None, goal: float | None) -> str:
    return "" if reach is None else f"{sign} {reach:g} ({goal:g})"
