"""`morag-client prune`: letting go of what is old."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Final

import typer

from morag_client.cli.acting import Why, Yes, counted, login_name, make_sure, need_answer, progress_bar
from morag_client.cli.inboxes import opened_inbox
from morag_client.cli.serving import DatabaseUrl
from morag_client.cli.times import AGES, parse_age

if TYPE_CHECKING:
    from morag_client.inbox.inbox import Inbox
    from morag_client.inbox.retention import Pruned, Pruning

_LOCKS: Final = (
    "--vacuum writes the file anew; while it does, deliveries are answered with 503, and the disk needs room for the"
    " file once more"
)


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(prune)


def prune(
    older_than: Annotated[
        timedelta,
        typer.Option(parser=parse_age, metavar="AGE", help=f"Only what was received longer ago: {AGES}."),
    ],
    keep_failures: Annotated[
        bool, typer.Option("--keep-failures", help="Leave records alone of which a handler gave up.")
    ] = False,
    quarantine: Annotated[bool, typer.Option("--quarantine", help="Also delete what is as old in quarantine.")] = False,
    vacuum: Annotated[
        bool,
        typer.Option(
            "--vacuum",
            help="Then give the space back; on SQLite no delivery is taken meanwhile (503).",
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how much it would be.")] = False,
    why: Why = None,
    yes: Yes = False,
    database_url: DatabaseUrl = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object, for machines.")] = False,
) -> None:
    """Let go of the bodies and texts of records that are old and through.

    Names, ids, times and states stay, and a delivery that comes again still is a duplicate.

    A receiver can be at work meanwhile. Where it is interrupted, it goes on the next time.
    """
    from morag_client.inbox.retention import Pruning  # noqa: PLC0415  # the CLI's help needs none of it

    pruning = Pruning(older_than=older_than, keep_failures=keep_failures, with_quarantine=quarantine)
    if not dry_run:
        need_answer(yes=yes)
    command = _Command(pruning, vacuum=vacuum and not dry_run, why=why, as_json=as_json)
    asyncio.run(command.run(database_url, dry_run=dry_run, yes=yes))


class _Command:
    """One `prune`, as it was asked for."""

    def __init__(self, pruning: Pruning, *, vacuum: bool, why: str | None, as_json: bool) -> None:
        self._pruning = pruning
        self._vacuums = vacuum
        self._why = why
        self._as_json = as_json

    async def run(self, database_url: str | None, *, dry_run: bool, yes: bool) -> None:
        from morag_client.inbox.retention import Pruned, count  # noqa: PLC0415
        from morag_client.inbox.vacuuming import vacuum  # noqa: PLC0415

        async with opened_inbox(database_url) as inbox:
            found = await count(inbox.database, self._pruning)
            if dry_run:
                self._say("would prune", found, dry_run=True)
                return
            self._ask(inbox, found, yes=yes)
            if found != Pruned():
                found = await self._prune(inbox, found)
            sizes = await vacuum(inbox.database) if self._vacuums else None
            self._say("pruned", found, dry_run=False, sizes=sizes)

    def _ask(self, inbox: Inbox, found: Pruned, *, yes: bool) -> None:
        if self._vacuums and inbox.database.is_sqlite:
            typer.echo(f"warning: {_LOCKS}", err=True)
        if found.records or found.quarantined:
            make_sure(f"Prune {_amount(found)}, for good?", yes=yes)
        elif self._vacuums:
            make_sure("There is nothing to prune; give free space back?", yes=yes)

    async def _prune(self, inbox: Inbox, found: Pruned) -> Pruned:
        from morag_client.inbox.retention import Pruned, prune as let_go  # noqa: PLC0415

        so_far = Pruned()
        with progress_bar("Pruning", total=found.records) as advance:

            def show(done: Pruned) -> None:
                nonlocal so_far
                advance(done.records - so_far.records)
                so_far = done

            return await let_go(inbox.database, self._pruning, who=login_name(), why=self._why, on_portion=show)

    def _say(self, did: str, done: Pruned, *, dry_run: bool, sizes: tuple[int, int] | None = None) -> None:
        if self._as_json:
            before, after = sizes or (None, None)
            more = {"dry_run": dry_run, "file_bytes_before": before, "file_bytes_after": after}
            typer.echo(json.dumps(asdict(done) | more))
            return
        typer.echo(f"{did} {_amount(done)}")
        if sizes is not None:
            typer.echo(f"the file had {_bytes(sizes[0])}, and has {_bytes(sizes[1])} now")
        elif self._vacuums:
            typer.echo("the space is free for what comes; the files stay as large as they are")


def _amount(done: Pruned) -> str:
    records = f"{counted(done.records, 'record')} ({_bytes(done.bytes)} of bodies)"
    return records + (
        f" and {counted(done.quarantined, 'delivery', 'deliveries')} in quarantine" if done.quarantined else ""
    )


def _bytes(number: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return counted(number, "byte")
