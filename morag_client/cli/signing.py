"""`morag-client sign` and `verify`: the signature of a body, made and checked by hand."""

from __future__ import annotations

from typing import Annotated

import typer

from morag_client.cli.reading import printable, read_body
from morag_client.errors import SignatureError

_File = Annotated[str, typer.Argument(metavar="FILE", help="The body's bytes; - reads them from stdin.")]
_Secret = Annotated[
    str,
    typer.Option(
        envvar="MORAG_WEBHOOK_SECRET",
        help="The webhook secret, several by commas; the variable keeps it out of process lists.",
    ),
]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(sign)
    app.command()(verify)


def sign(secret: _Secret, file: _File = "-") -> None:
    """Print the X-MoRAG-Signature of a body, by the first secret."""
    from morag_client.wire.signature import sign as signature_of  # noqa: PLC0415  # the CLI's help needs none of it

    typer.echo(signature_of(_body(file), _secrets(secret)[0]))


def verify(
    file: _File,
    signature: Annotated[str, typer.Option(help="The value of X-MoRAG-Signature: sha256= and 64 hex digits.")],
    secret: _Secret,
) -> None:
    """Check the X-MoRAG-Signature of a body, by any of the secrets. Exit code 1: it is none of theirs."""
    from morag_client.wire.signature import verify_signature  # noqa: PLC0415

    try:
        verify_signature(_body(file), signature, _secrets(secret))
    except SignatureError as error:
        typer.echo(f"bad: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo("good: one of the secrets signed these bytes")


def _body(file: str) -> bytes:
    try:
        return read_body(file)
    except OSError as error:
        reason = f"cannot read {printable(file)}: {error.strerror or error}"
        raise typer.BadParameter(reason, param_hint="FILE") from None


def _secrets(text: str) -> list[str]:
    secrets = [part.strip() for part in text.split(",")]
    if not all(secrets):
        raise typer.BadParameter(
            "a webhook secret is empty or blank: anyone could sign with it; set a real one", param_hint="--secret"
        )
    return secrets
