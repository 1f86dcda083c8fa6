"""`morag-client reconcile`: asking MoRAG about tasks that went silent."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Final

import typer

from morag_client.cli.acting import Why, counted, login_name, progress_bar
from morag_client.cli.inboxes import opened_inbox, printable
from morag_client.cli.serving import DatabaseUrl
from morag_client.cli.times import AGES, parse_age

if TYPE_CHECKING:
    from morag_client.reconcile.report import Report

_LEASE: Final = 30.0
_LEAST: Final = 20
"""Questions that take long enough to show how far it is."""


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(reconcile)


def reconcile(
    since: Annotated[
        timedelta | None,
        typer.Option(
            parser=parse_age,
            metavar="AGE",
            help=f"Only tasks that were heard of within that time: {AGES}. Default: all; by MoRAG's lists, of 24h.",
        ),
    ] = None,
    silent: Annotated[
        timedelta | None,
        typer.Option(parser=parse_age, metavar="AGE", help="Only tasks that have been silent for so long."),
    ] = None,
    known_only: Annotated[
        bool, typer.Option("--known-only", help="Leave out tasks that MoRAG lists and no webhook told of.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be made of the answers.")] = False,
    why: Why = None,
    api_url: Annotated[
        str | None, typer.Option("--api-url", metavar="URL", help="MoRAG. Default: MORAG_API_URL.")
    ] = None,
    database_url: DatabaseUrl = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object, for machines.")] = False,
) -> None:
    """Ask MoRAG how tasks stand that have not ended, and store the task.* events that are missing.

    A running receiver on the same database handles them within a second or two. Exit code 1 where MoRAG did not answer
    everything.
    """
    asking = _run(
        database_url,
        api_url,
        since=since,
        silent=silent or timedelta(0),
        adopts=not known_only,
        dry_run=dry_run,
        why=why,
    )
    report = asyncio.run(asking)
    if as_json:
        typer.echo(json.dumps({**report.as_json(), "dry_run": dry_run}))
    else:
        _say(report, is_dry=dry_run)
    if not report.is_complete:
        raise typer.Exit(1)


async def _run(
    database_url: str | None,
    api_url: str | None,
    *,
    since: timedelta | None,
    silent: timedelta,
    adopts: bool,
    dry_run: bool,
    why: str | None,
) -> Report:
    from morag_client.config import Settings  # noqa: PLC0415  # the CLI's help needs none of it
    from morag_client.inbox.rows import now  # noqa: PLC0415
    from morag_client.receiver.reconciling import FOUND_WITHIN, adopts_of, client_of  # noqa: PLC0415
    from morag_client.reconcile.reconciler import Reconciler  # noqa: PLC0415
    from morag_client.reconcile.round import Wanted  # noqa: PLC0415

    settings = Settings.load(api_url=api_url)
    client, close = client_of(settings)
    wanted = Wanted(
        silent_for=silent,
        within=since,
        adopts=adopts_of(settings) if adopts and settings.reconcile_unknown else None,
        found_within=since or FOUND_WITHIN,
        dry_run=dry_run,
        who=login_name(),
        why=why,
    )
    try:
        async with opened_inbox(database_url) as inbox:
            with _bar() as on_progress:
                return await Reconciler(inbox, client, clock=now, lease=_LEASE, on_progress=on_progress).run(wanted)
    finally:
        await close()


@contextlib.contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """How far it is, where there is much to ask; how much that is, is known with the first answer."""
    with contextlib.ExitStack() as shown:
        advances: list[Callable[[int], None]] = []

        def on_progress(_done: int, total: int) -> None:
            if not advances:
                advances.append(shown.enter_context(progress_bar("Asking MoRAG", total=total, least=_LEAST)))
            advances[0](1)

        yield on_progress


def _say(report: Report, *, is_dry: bool) -> None:
    if not report.is_supported:
        typer.echo("this release of MoRAG has no status API: there is nothing to ask")
        return
    typer.echo(f"asked about {counted(report.asked, 'task')}")
    made = "would be made" if is_dry else "made"
    for name, number in sorted(report.made.items()):
        typer.echo(f"{number:,} {name} {made}")
    lines = {
        "of these, of which no webhook had told": report.found,
        "still running": report.running,
        "that MoRAG says nothing of": report.unknown,
        "as known already": report.unchanged,
        "silent, of which MoRAG gave no id to ask with": report.silent_without_id,
        "not asked, since MoRAG did not answer any more": report.left,
    }
    for said, number in lines.items():
        if number:
            typer.echo(f"{counted(number, 'task')} {said}")
    for limit in report.limits:
        typer.echo(f"note: {printable(limit)}", err=True)
    for error in report.errors:
        typer.echo(f"error: {printable(error)}", err=True)
