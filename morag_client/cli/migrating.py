"""`morag-client db`: the tables of an inbox, brought up to date and looked at."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from morag_client.cli.inboxes import named_inbox
from morag_client.cli.serving import DatabaseUrl
from morag_client.errors import ConfigurationError

if TYPE_CHECKING:
    from morag_client.inbox.database import Database

T = TypeVar("T")

_AsJson = Annotated[bool, typer.Option("--json", help="A JSON object, for machines.")]

_ADVICE: Final = {
    "missing": "there are no tables yet; run: morag-client db upgrade",
    "behind": "the tables are of revision {revision}, this release needs {newest}; run: morag-client db upgrade",
    "newer": "the tables are of revision {revision}, which this release does not know; install a newer morag-client",
    "current": "the tables are up to date (revision {revision})",
}


def register(app: typer.Typer) -> None:
    """Adds the group of commands."""
    group = typer.Typer(no_args_is_help=True, help="Make the tables of an inbox, bring them up to date, check them.")
    for command in (upgrade, current, check):
        group.command()(command)
    app.add_typer(group, name="db")


def upgrade(database_url: DatabaseUrl = None, as_json: _AsJson = False) -> None:
    """Make the tables, or bring them up to date. A receiver does this by itself when it starts."""
    from morag_client.inbox import schema  # noqa: PLC0415  # the CLI's help needs none of it

    before, shown = _ask(database_url, schema.upgrade, may_be_new=True)
    if as_json:
        typer.echo(json.dumps({"database": shown, "from": before, "to": schema.HEAD}))
    elif before == schema.HEAD:
        typer.echo(f"{shown}: nothing to do, the tables are of revision {before}")
    elif before is None:
        typer.echo(f"{shown}: made the tables, of revision {schema.HEAD}")
    else:
        typer.echo(f"{shown}: brought the tables from revision {before} to {schema.HEAD}")


def current(database_url: DatabaseUrl = None, as_json: _AsJson = False) -> None:
    """Show the revision of the tables."""
    from morag_client.inbox import schema  # noqa: PLC0415

    revision, shown = _ask(database_url, schema.revision_of)
    if as_json:
        typer.echo(json.dumps({"database": shown, "revision": revision, "newest": schema.HEAD}))
    else:
        typer.echo(revision or "none")


def check(database_url: DatabaseUrl = None, as_json: _AsJson = False) -> None:
    """Say whether this release can work with the tables, and change nothing. Exit code 1: it cannot."""
    from morag_client.inbox import schema  # noqa: PLC0415

    async def look(database: Database) -> tuple[str, str | None, str]:
        try:
            revision = await schema.revision_of(database)
        except ConfigurationError as error:
            return "foreign", None, str(error)
        state = schema.standing(revision)
        return state, revision, _ADVICE[state].format(revision=revision, newest=schema.HEAD)

    (state, revision, advice), shown = _ask(database_url, look)
    if as_json:
        found = {"database": shown, "state": state, "revision": revision, "newest": schema.HEAD, "advice": advice}
        typer.echo(json.dumps(found))
    else:
        typer.echo(f"{shown}: {advice}", err=state != "current")
    if state != "current":
        raise typer.Exit(1)


def _ask(
    database_url: str | None, work: Callable[[Database], Coroutine[Any, Any, T]], *, may_be_new: bool = False
) -> tuple[T, str]:
    """What `work` returns for the database that is meant, and its URL without a password."""

    async def ask() -> tuple[T, str]:
        database = named_inbox(database_url, may_be_new=may_be_new).database
        try:
            return await work(database), database.location.shown
        finally:
            await database.close()

    return asyncio.run(ask())
