"""What `morag-client emit` says of many tasks: how far it is, and a report at the end."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any, Final

import typer

from morag_client.cli.acting import progress_bar

if TYPE_CHECKING:
    from morag_client.testing import Emitter, FaultPlan, LoadReport

_INTERRUPTED: Final = 128 + signal.SIGINT
_REASONS: Final = 5
_WIDTH: Final = 13


def load_and_report(
    emitter: Emitter, *, tasks: int, concurrency: int, as_json: bool, faults: FaultPlan | None, **pipeline: Any
) -> None:
    """Sends it all and prints what became of it, also after Ctrl-C. Raises typer.Exit where not all is well."""
    from morag_client.testing import LoadReport  # noqa: PLC0415  # the CLI's help needs none of it

    report = LoadReport()
    is_interrupted = False
    with progress_bar("tasks", total=tasks, least=2) as advance:
        try:
            emitter.run_load(
                tasks=tasks,
                concurrency=concurrency,
                faults=faults,
                report=report,
                on_task=lambda: advance(1),
                **pipeline,
            )
        except KeyboardInterrupt:
            is_interrupted = True
    if as_json:
        told = {**report.as_object(), "concurrency": concurrency, "faults": None if faults is None else str(faults)}
        typer.echo(json.dumps({**told, "interrupted": is_interrupted}))
    else:
        _print(report, tasks=tasks, concurrency=concurrency)
    if is_interrupted:
        typer.echo("interrupted", err=True)
        raise typer.Exit(_INTERRUPTED)
    if not report.ok:
        raise typer.Exit(1)


def _print(report: LoadReport, *, tasks: int, concurrency: int) -> None:
    latency = report.latency
    _row("tasks", f"{report.tasks:,} of {tasks:,}, {min(concurrency, tasks):,} at a time")
    _row("deliveries", f"{report.deliveries:,} in {report.seconds:.2f} s: {report.rate:,.0f} a second")
    if latency is not None:
        _row("latency", ", ".join(f"{name} {getattr(latency, name) * 1000:.1f} ms" for name in latency.__slots__))
    _row("accepted", f"{report.accepted:,}")
    _row("refused", f"{report.refused:,}", is_bad=report.refused > 0)
    _row("errors", f"{report.errors:,}", is_bad=report.errors > 0)
    _row("retries", f"{report.retries:,}")
    _row("answers", ", ".join(f"{status}: {count:,}" for status, count in sorted(report.statuses.items())) or "none")
    for reason, count in report.reasons.most_common(_REASONS):
        _row("no answer", f"{reason}: {count:,}")


def _row(title: str, text: str, *, is_bad: bool = False) -> None:
    typer.echo(f"{title:<{_WIDTH}}{typer.style(text, fg='red') if is_bad else text}")
