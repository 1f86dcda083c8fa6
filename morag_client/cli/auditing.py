"""`morag-client audit`: who let what happen again, gave it up or removed it, and why."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

import typer

from morag_client.cli.inboxes import AsJson, Limit, local_time, opened_inbox, printable, show_table
from morag_client.cli.serving import DatabaseUrl

if TYPE_CHECKING:
    from morag_client.inbox.audit import AuditEntry


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(audit)


def audit(limit: Limit = 50, database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """List what people did to what is stored: replays, dead letters and quarantine retried or given up, prunings."""
    entries = asyncio.run(_newest(database_url, limit=limit))
    if not as_json:
        show_table(("ID", "When", "What", "How many", "Which", "Who", "Why"), map(_row, entries))
        return
    from pydantic_core import to_jsonable_python  # noqa: PLC0415  # the CLI's help needs none of it

    for entry in entries:
        typer.echo(json.dumps(to_jsonable_python(asdict(entry))))


async def _newest(database_url: str | None, *, limit: int) -> list[AuditEntry]:
    from morag_client.inbox import audit as entries  # noqa: PLC0415

    async with opened_inbox(database_url) as inbox:
        newest = partial(entries.newest, tables=inbox.database.tables, limit=limit)
        return await inbox.database.read(newest, patience=inbox.patience)


def _row(entry: AuditEntry) -> Sequence[str]:
    which = "\n".join(f"{name}: {_said(value)}" for name, value in entry.criteria.items())
    who, why = printable(entry.who), printable(entry.why or "")
    return str(entry.id), local_time(entry.at), entry.action, f"{entry.affected:,}", which, who, why


def _said(value: object) -> str:
    """A criterion as one would have given it."""
    return printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
