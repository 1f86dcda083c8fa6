"""`morag-client webhook-url`: a signed URL to submit a document with."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from morag_client.cli.inboxes import AsJson
from morag_client.cli.times import AGES, parse_age
from morag_client.errors import MoragWarning
from morag_client.events.payloads import as_text


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("webhook-url")(webhook_url)


def webhook_url(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Your own ids; each event will carry them.")
    ] = None,
    public_url: Annotated[
        str | None,
        typer.Option(help="Where MoRAG reaches the receiver, with its mount's prefix. Default: MORAG_PUBLIC_URL."),
    ] = None,
    max_age: Annotated[
        timedelta | None,
        typer.Option(parser=parse_age, metavar="AGE", help=f"How long it is good: {AGES}. Default: while its key is."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print a signed URL, for webhook_url= when you submit a document; what MoRAG posts to it is believed.

    The key is MORAG_SIGNING_KEY, the same as the receiver's.
    """
    from morag_client.config import Settings  # noqa: PLC0415  # the CLI's help needs none of these
    from morag_client.receiver.webhook_urls import make_url, signer_of, warn_of_refusal  # noqa: PLC0415

    settings = Settings.load(public_url=public_url)
    correlation: dict[str, Any] = pairs(ids or ())
    url = make_url(settings, correlation, max_age=max_age)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", MoragWarning)
        warn_of_refusal(settings, stacklevel=1)
    for warning in caught:
        typer.echo(f"warning: {warning.message}", err=True)
    if not as_json:
        typer.echo(url)
        return
    claims = signer_of(settings).read(url.rpartition("/")[2])
    ends = None if claims.expires_at is None else as_text(datetime.fromtimestamp(claims.expires_at, UTC))
    typer.echo(json.dumps({"url": url, "correlation": dict(claims.correlation), "expires_at": ends}))


def pairs(given: Iterable[str], *, hint: str = "KEY=VALUE") -> dict[str, str]:
    """Ids as they stand on a command line. Raises typer.BadParameter for what is none, and for one that is twice."""
    found: dict[str, str] = {}
    for pair in given:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{pair!r} is no KEY=VALUE", param_hint=hint)
        if key in found:
            raise typer.BadParameter(f"{key!r} is given twice", param_hint=hint)
        found[key] = value
    return found
