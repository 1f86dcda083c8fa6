"""`morag-client submit`: documents sent to MoRAG, and if wanted waited for."""

from __future__ import annotations

from typing import Annotated

import typer

from morag_client.cli.clients import ApiUrl, ApiVersion, Concurrency
from morag_client.cli.inboxes import AsJson
from morag_client.cli.watching import InboxUrl, Timeout
from morag_client.cli.webhook_urls import pairs

_TYPES = ("document", "audio", "video", "image", "web", "youtube")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(submit)


def submit(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Files, patterns ('*.pdf', '**/*.md'), folders, URLs.")
    ],
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Of folders, all that is in and below them but what is hidden.")
    ] = False,
    metadata: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Comes back in the events; more than once.")
    ] = None,
    document_id: Annotated[str | None, typer.Option(help="Your id of the document; for one document only.")] = None,
    source_type: Annotated[
        str | None, typer.Option(help=f"{', '.join(_TYPES[:-1])} or {_TYPES[-1]}. Default: as the name says.")
    ] = None,
    webhook_url: Annotated[str | None, typer.Option(metavar="URL", help="Where MoRAG is to report to.")] = None,
    correlation: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Signed into a webhook URL that is made for each document, of MORAG_SIGNING_KEY and MORAG_PUBLIC_URL."
            " Where both are set, such a URL is made anyway.",
        ),
    ] = None,
    concurrency: Concurrency = 4,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the tasks until each has ended.")] = False,
    timeout: Timeout = None,
    database_url: InboxUrl = None,
    api_url: ApiUrl = None,
    api_version: ApiVersion = "auto",
    as_json: AsJson = False,
) -> None:
    """Submit documents to MoRAG; its key is MORAG_API_KEY. One that cannot be sent does not stop the others.

    Exit code 1: one was not taken; with --wait also: a task did not complete, or not in time.
    """
    from morag_client.cli.sources import find_sources  # noqa: PLC0415  # the CLI's help needs none of these
    from morag_client.cli.submission import Submission, webhook_maker  # noqa: PLC0415
    from morag_client.cli.uploading import Order  # noqa: PLC0415
    from morag_client.cli.watches import Place  # noqa: PLC0415

    if source_type is not None and source_type not in _TYPES:
        raise typer.BadParameter(f"expected {', '.join(_TYPES[:-1])} or {_TYPES[-1]}", param_hint="--source-type")
    if webhook_url is not None and correlation:
        raise typer.BadParameter("is for URLs that are made here; leave out one of it and --webhook-url",
                                 param_hint="--correlation")  # fmt: skip
    if not wait and timeout is not None:
        raise typer.BadParameter("goes with --wait", param_hint="--timeout")
    sources, unfit = find_sources(files, recursive=recursive)
    if document_id is not None and len(sources) + len(unfit) > 1:
        raise typer.BadParameter(
            f"is of one document, these are {len(sources) + len(unfit)}", param_hint="--document-id"
        )
    order = Order(
        webhook_url=webhook_maker(webhook_url, pairs(correlation or (), hint="--correlation")),
        metadata=pairs(metadata, hint="--metadata") if metadata else None,
        document_id=document_id,
        source_type=source_type,
    )
    place = Place(database_url=database_url, api_url=api_url, api_version=api_version)
    submission = Submission(place, order, as_json=as_json, waits=wait)
    submission.run(sources, unfit, concurrency=concurrency, timeout=timeout)
