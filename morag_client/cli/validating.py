"""`morag-client validate`: whether files hold webhooks by the guide's rules."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from morag_client.cli.reading import printable, read_body


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(validate)


def validate(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Bodies of webhooks; - reads one from stdin.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for machines.")] = False,
) -> None:
    """Check bodies of webhooks in any dialect, and list everything that is wrong.

    Exit code 1: one has problems. Exit code 2: one could not be read; the others are checked all the same.
    """
    code = 0
    for name in files:
        try:
            body = read_body(name)
        except OSError as error:
            typer.echo(f"error: cannot read {printable(name)}: {error.strerror or error}", err=True)
            code = 2
            continue
        finding = _finding(body)
        typer.echo(_as_line(name, finding) if as_json else _as_block(name, finding))
        code = max(code, 1 if finding["problems"] else 0)
    if code:
        raise typer.Exit(code)


def _finding(body: bytes) -> dict[str, Any]:
    from morag_client.errors import DeliveryRejected  # noqa: PLC0415  # the CLI's help needs none of it
    from morag_client.wire.parsing import parse_event  # noqa: PLC0415
    from morag_client.wire.validation import validate_webhook  # noqa: PLC0415

    problems = validate_webhook(body)
    try:
        event = parse_event(body)
    except DeliveryRejected:
        return {"ok": False, "dialect": None, "event": None, "problems": problems}
    return {"ok": not problems, "dialect": event.dialect, "event": event.name, "problems": problems}


def _as_line(name: str, finding: dict[str, Any]) -> str:
    return json.dumps({"file": printable(name), **finding})


def _as_block(name: str, finding: dict[str, Any]) -> str:
    problems = finding["problems"]
    read_as = f"{finding['event']} ({finding['dialect']})" if finding["event"] else ""
    if not problems:
        return f"{printable(name)}: ok, {read_as}"
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    taken = f"; a receiver takes it as {read_as}" if read_as else "; a receiver refuses it"
    return "\n".join([f"{printable(name)}: {count}{taken}", *(f"  {problem}" for problem in problems)])
