"""`morag-client replay`: handling again what the inbox holds."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
from typing import Annotated

import typer

from morag_client.cli.inboxes import opened_inbox
from morag_client.cli.inspecting import show_records
from morag_client.cli.serving import DatabaseUrl, choose_database, load_receiver
from morag_client.errors import RecordNotFound


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(replay)


def replay(
    record_ids: Annotated[list[int], typer.Argument(metavar="ID...", help="Ids of records, as `events` lists them.")],
    app: Annotated[
        str | None, typer.Option("--app", metavar="MODULE:RECEIVER", help="Run the handlers here and now.")
    ] = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Let the failed handlers of records run again (all of them, where none failed).

    A running receiver on the same database picks them up within a second or two.
    """
    if app is not None:
        choose_database(database_url)
        found = asyncio.run(_replay_here(app, record_ids))
    else:
        found = asyncio.run(_reopen(database_url, record_ids))
    if not found:
        raise typer.Exit(1)


async def _reopen(database_url: str | None, record_ids: list[int]) -> bool:
    from morag_client.inbox.replaying import replay_one  # noqa: PLC0415  # the CLI's help needs none of it

    complete = True
    async with opened_inbox(database_url) as inbox:
        for record_id in record_ids:
            try:
                names = (await replay_one(inbox.database, record_id, who=getpass.getuser())).handlers
            except RecordNotFound as error:
                typer.echo(f"error: {error}", err=True)
                complete = False
            else:
                typer.echo(f"record {record_id} waits again for {', '.join(names) or 'its handlers'}")
    return complete


async def _replay_here(app: str, record_ids: list[int]) -> bool:
    receiver = load_receiver(app)
    complete = True
    async with receiver.lifespan():
        for record_id in record_ids:
            try:
                await receiver.replay(record_id)
            except RecordNotFound as error:
                typer.echo(f"error: {error}", err=True)
                complete = False
        await receiver.idle()
        for record_id in record_ids:
            with contextlib.suppress(RecordNotFound):
                record = await receiver.events.get(record_id)
                show_records([record])
                complete = complete and record.state == "handled"
    return complete
