"""The command line: every group of commands in a module of its own, gathered here."""

from __future__ import annotations

import typer

from morag_client.cli import inspecting, serving

app = typer.Typer(name="morag-client", no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)

for group in (serving, inspecting):
    group.register(app)
