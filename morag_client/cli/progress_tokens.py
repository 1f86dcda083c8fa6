"""`morag-client progress-token`: lets a browser follow the progress of some tasks."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from morag_client.cli.inboxes import AsJson
from morag_client.cli.times import AGES, parse_age
from morag_client.cli.webhook_urls import pairs
from morag_client.events.payloads import as_text


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("progress-token")(progress_token)


def progress_token(
    task: Annotated[str | None, typer.Option(metavar="TASK_ID", help="Of this task.")] = None,
    document: Annotated[str | None, typer.Option(metavar="DOCUMENT_ID", help="Of this document's tasks.")] = None,
    correlation: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Of the tasks whose signed webhook URL carries this id; repeat it."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Of all tasks.")] = False,
    tenant: Annotated[str | None, typer.Option(help="Whose they are, where there are tenants.")] = None,
    max_age: Annotated[
        timedelta, typer.Option(parser=parse_age, metavar="AGE", help=f"How long it is good: {AGES}.")
    ] = "1d",  # type: ignore[assignment]  # read by the parser
    as_json: AsJson = False,
) -> None:
    """Print a token with which a page may follow progress: io({auth: {token}}).

    The key is MORAG_SIGNING_KEY, the same as the receiver's.
    """
    from morag_client.config import Settings  # noqa: PLC0415  # the CLI's help needs none of these
    from morag_client.progress.scopes import make_scope  # noqa: PLC0415
    from morag_client.receiver.progress import make_token  # noqa: PLC0415

    ids = pairs(correlation, hint="--correlation") if correlation else None
    scope = make_scope(task=task, document=document, correlation=ids, all=everything, tenant=tenant)
    ends = datetime.now(UTC) + max_age
    token = make_token(Settings.load(), scope, max_age=max_age)
    if as_json:
        typer.echo(json.dumps({"token": token, "scope": scope.as_object(), "expires_at": as_text(ends)}))
    else:
        typer.echo(token)
