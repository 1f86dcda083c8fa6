"""The report of `scripts/bench ingest` for people."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.table import Table

_COLUMNS = ("peer", "its requests/s", "p50 / p99 ms", "receiver's", "p50 / p99 ms", "ratio (quartiles)", "asked", "bad")
_QUIET = 0.5


def print_table(report: dict[str, Any]) -> None:
    """Prints what was compared, a row a peer, and what is wrong."""
    machine = report["machine"]
    print(
        f"{machine['date']}: {machine['cores']} cores, one server process on one core, wrk on another; Python"
        f" {machine['python']}, SQLite {machine['sqlite']} on {machine['filesystem']}; {report['pairs']} pairs of"
        f" {report['slice']} s, {report['connections']} connections, signed step webhooks, each sent once"
    )
    if machine["filesystem"] in {"tmpfs", "ramfs"}:
        print("The databases are in memory, where a commit costs nothing: set BENCH_DIR to a folder on a disk.")
    if machine["load"] > _QUIET:
        print(f"The machine was busy before (load {machine['load']}): the figures are noisy.")
    print(f"This receiver stores: {report['receiver']}.")
    for result in report["results"]:
        print(f"{result['peer']} stores: {result['stores']}.")
    rows = [_row(result) for result in report["results"]]
    show = _print_pretty if sys.stdout.isatty() else _print_plain
    show(rows)
    for result in report["results"]:
        for problem in result["problems"]:
            print(f"{result['peer']}: {problem}")
    print("all reached" if report["passed"] else "not all reached")


def _row(result: dict[str, Any]) -> tuple[str, ...]:
    asked = "" if result["reach"] is None else f">= {result['reach']:g}"
    if "ratio" not in result:
        return (result["peer"], "", "", "", "", "not measured", asked, "")
    peer, receiver = result["peer_side"], result["receiver_side"]
    return (
        result["peer"],
        f"{peer['rps']:,.0f}",
        f"{peer['p50_ms']:.1f} / {peer['p99_ms']:.1f}",
        f"{receiver['rps']:,.0f}",
        f"{receiver['p50_ms']:.1f} / {receiver['p99_ms']:.1f}",
        f"{result['ratio']:.2f} ({result['q1']:.2f} to {result['q3']:.2f})",
        asked,
        f"{peer['bad']} / {receiver['bad']}",
    )


def _print_pretty(rows: list[tuple[str, ...]]) -> None:
    table = Table()
    for number, column in enumerate(_COLUMNS):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _print_plain(rows: list[tuple[str, ...]]) -> None:
    lines = [_COLUMNS, *rows]
    widths = [max(len(line[number]) for line in lines) for number in range(len(_COLUMNS))]
    for line in lines:
        cells = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)]
        print("  ".join([line[0].ljust(widths[0]), *cells[1:]]).rstrip())
