"""What is common to the commands: options, exit codes, and the report for people or as JSON."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from databases import DEFAULT_POSTGRES, KINDS, TITLES
from machine import Unmeasurable
from rich.console import Console
from rich.table import Table

_QUIET = 0.5
_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Figure:
    """One that was measured; `least` or `most` is asked for, `goal` is hoped for, `spread` are its quartiles."""

    what: str
    value: float
    unit: str = ""
    spread: tuple[float, float] | None = None
    least: float | None = None
    most: float | None = None
    goal: float | None = None

    @property
    def passed(self) -> bool:
        return (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)


def run_command(
    parser: argparse.ArgumentParser,
    measure: Callable[[argparse.Namespace], dict[str, Any]],
    show: Callable[[dict[str, Any]], None],
) -> int:
    """The exit code: 0 good, 1 a reach was missed, 2 it cannot be measured here, 130 interrupted."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        report = measure(options)
    except Unmeasurable as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        return _INTERRUPTED
    if options.json:
        print(json.dumps(report))
    else:
        show(report)
    return 0 if report["passed"] else 1


def add_load_options(parser: argparse.ArgumentParser) -> None:
    """How paired slices are made."""
    parser.add_argument("--pairs", type=positive, default=12, help="slices for each side, after one to warm up (12)")
    parser.add_argument("--slice", type=positive, default=2, help="seconds of a slice (2)")
    add_connections_option(parser)


def add_connections_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--connections", type=positive, default=64, help="held open by wrk (64)")


def add_database_options(parser: argparse.ArgumentParser) -> None:
    """Which database is written to."""
    parser.add_argument("--database", choices=KINDS, default=KINDS[0], help="where the receiver stores (sqlite)")
    add_postgres_option(parser)


def add_postgres_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--postgres",
        metavar="URL",
        default=DEFAULT_POSTGRES,
        help=f"a PostgreSQL in which databases can be made ({DEFAULT_POSTGRES})",
    )


def positive(text: str) -> int:
    """An argument that counts something."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("expected 1 or more")
    return number


def compared(
    what: str, found: dict[str, Any], *, sides: tuple[str, str], least: float | None = None, goal: float | None = None
) -> list[Figure]:
    """The figures of a paired run, as kit/duel.py tells it: the ratio b/a, and both sides' own."""
    keys = {"rps": ("requests", "/s"), "p50_ms": ("p50", "ms"), "p99_ms": ("p99", "ms")}
    return [
        Figure(what, found["ratio"], spread=(found["q1"], found["q3"]), least=least, goal=goal),
        *(
            Figure(f"{name}: {title}", found[side][key], unit)
            for side, name in zip("ab", sides, strict=True)
            for key, (title, unit) in keys.items()
        ),
    ]


def troubles(found: dict[str, Any], *, sides: tuple[str, str]) -> Iterator[str]:
    """What makes a paired run worth nothing."""
    for name, bad in zip(sides, found["bad"], strict=True):
        if bad:
            yield f"{name}: {bad} bad answers"
    if found["wrapped"]:
        yield "every body was used: some came again, as duplicates"


def conditions(options: argparse.Namespace) -> str:
    """How it was measured, as far as the options say."""
    parts = [TITLES[options.database]] if "database" in options else []
    parts += [f"{options.pairs} pairs of {options.slice} s"] if "pairs" in options else []
    return ", ".join([*parts, f"{options.connections} connections"])


def build_report(
    *, machine: dict[str, Any], figures: Sequence[Figure], problems: Iterable[str], remark: str, **details: Any
) -> dict[str, Any]:
    """The object that --json prints; whoever misses a reach or has a problem has not passed."""
    found = list(problems)
    return {
        "machine": machine,
        "remark": remark,
        **details,
        "figures": [{**asdict(figure), "passed": figure.passed} for figure in figures],
        "problems": found,
        "passed": not found and all(figure.passed for figure in figures),
    }


def show_figures(report: dict[str, Any]) -> None:
    """A line for each figure, and what is wrong."""
    print_machine(report["machine"])
    print(report["remark"])
    rows = [_row(figure) for figure in report["figures"]]
    print_table(("what", "measured", "quartiles", "asked", "goal", ""), rows)
    print_outcome(report)


def print_machine(machine: dict[str, Any]) -> None:
    """Where it was measured, and what speaks against it."""
    databases = f"SQLite {machine['sqlite']} on {machine['filesystem']}"
    if "postgres" in machine:
        databases += f", PostgreSQL {machine['postgres']}"
    print(f"{machine['date']}: {machine['cores']} cores, Python {machine['python']}, {databases}")
    if machine["filesystem"] in {"tmpfs", "ramfs"}:
        print("The databases are in memory, where a commit costs nothing: set BENCH_DIR to a folder on a disk.")
    if machine["load"] > _QUIET:
        print(f"The machine was busy before (load {machine['load']}): the figures are noisy.")


def print_outcome(report: dict[str, Any]) -> None:
    for problem in report["problems"]:
        print(problem)
    print("all reached" if report["passed"] else "not all reached")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """With lines on a terminal, and plain elsewhere."""
    if sys.stdout.isatty():
        table = Table()
        for number, column in enumerate(columns):
            table.add_column(column, justify="right" if number else "left")
        for row in rows:
            table.add_row(*row)
        Console().print(table)
        return
    lines = [columns, *rows]
    widths = [max(len(line[number]) for line in lines) for number in range(len(columns))]
    for line in lines:
        cells = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)]
        print("  ".join([line[0].ljust(widths[0]), *cells[1:]]).rstrip())


def _interrupt(*_: object) -> None:
    """However it is ended, it ends the servers and removes their databases first, and once is enough."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _row(figure: dict[str, Any]) -> tuple[str, ...]:
    sign, asked = (">=", figure["least"]) if figure["least"] is not None else ("<=", figure["most"])
    return (
        figure["what"],
        _shown(figure["value"], figure["unit"]),
        " to ".join(_shown(value) for value in figure["spread"]) if figure["spread"] else "",
        "" if asked is None else f"{sign} {asked:g}",
        "" if figure["goal"] is None else f"{figure['goal']:g}",
        "" if figure["passed"] else "MISSED",
    )


def _shown(value: float, unit: str = "") -> str:
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}" if abs(value) >= 10 else f"{value:.2f}"
    return f"{text} {unit}".rstrip()
