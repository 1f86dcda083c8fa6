"""`morag-client watch`: tasks followed to their ends, by a receiver's inbox or by asking MoRAG."""

from __future__ import annotations

from typing import Annotated

import typer

from morag_client.cli.clients import ApiUrl, ApiVersion
from morag_client.cli.inboxes import AsJson

Timeout = Annotated[float | None, typer.Option(metavar="SECONDS", help="How long to wait for the tasks' ends.", min=0)]
InboxUrl = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        help="A receiver's inbox to go by. Default: MORAG_DATABASE_URL, else MoRAG is asked again and again.",
    ),
]


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(watch)


def watch(
    task_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[TASK]...", help="Ids as MoRAG answered them; or the ref of a URL.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All tasks of the inbox that have not ended, and those to come, until Ctrl-C.")
    ] = False,
    timeout: Timeout = None,
    database_url: InboxUrl = None,
    api_url: ApiUrl = None,
    api_version: ApiVersion = "auto",
    as_json: AsJson = False,
) -> None:
    """Follow tasks until each has ended. Exit code 1: one of them failed, or not all ended in time.

    Goes by what a receiver's inbox holds where a database is named (--database-url or MORAG_DATABASE_URL), else asks
    MoRAG again and again.
    """
    if bool(task_ids) == everything:
        raise typer.BadParameter("name tasks, or say --all", param_hint="TASK")
    from morag_client.cli.watches import Place, Watch  # noqa: PLC0415  # the CLI's help needs none of it

    place = Place(database_url=database_url, api_url=api_url, api_version=api_version)
    Watch(place, as_json=as_json).run(task_ids or (), everything=everything, timeout=timeout)
