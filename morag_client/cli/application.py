"""The command line: every group of commands in a module of its own, gathered here."""

from __future__ import annotations

import sys
from typing import Annotated, Final

import typer

from morag_client.cli import (
    asking,
    auditing,
    dead_letters,
    demonstrating,
    downloading,
    emitting,
    inspecting,
    migrating,
    mocking,
    progress_tokens,
    pruning,
    quarantine,
    reconciling,
    replaying,
    serving,
    signing,
    stats,
    submitting,
    tasks,
    validating,
    watching,
    webhook_urls,
)

_TAKE_FILES: Final = frozenset({"demo", "submit", "validate", "sign", "verify"})
"""Commands that take names of files, which need not be text."""

app = typer.Typer(
    name="morag-client",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 found something wrong, 2 bad usage.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415

        typer.echo(f"morag-client {version('morag-client')}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """The consumer's side of MoRAG: receive its webhooks, prove who sent them, and look at what arrived."""
    if context.invoked_subcommand not in _TAKE_FILES:
        for argument in sys.argv[1:]:
            _check_text(argument)


def _check_text(argument: str) -> None:
    """Raises typer.BadParameter for bytes that are no text: no database takes them, each with another error."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        shown = argument.encode("utf-8", "surrogateescape")
        raise typer.BadParameter(f"an argument is not UTF-8: {shown!r}") from None


for group in (
    demonstrating,
    serving,
    mocking,
    emitting,
    submitting,
    watching,
    asking,
    downloading,
    inspecting,
    tasks,
    stats,
    replaying,
    reconciling,
    dead_letters,
    quarantine,
    pruning,
    auditing,
    migrating,
    validating,
    signing,
    webhook_urls,
    progress_tokens,
):
    group.register(app)
