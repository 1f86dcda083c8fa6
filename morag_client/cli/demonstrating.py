"""`morag-client demo`: a document's whole way on one machine, from a mock MoRAG to handlers."""

from __future__ import annotations

import io
import os
import queue
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from morag_client.cli.serving import DEFAULT_DATABASE, DatabaseUrl
from morag_client.errors import MoragError

if TYPE_CHECKING:
    from morag_client.cli.demo.session import Told


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(demo)


def demo(
    once: Annotated[
        bool, typer.Option("--once", help="End after the document; exit code 0 if all 14 events were handled.")
    ] = False,
    document: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, readable=True, help="A text of yours. Default: one that ships."),
    ] = None,
    morag_port: Annotated[
        int, typer.Option(min=0, max=65535, help="The mock MoRAG's port; 0 takes a free one.")
    ] = 8000,
    receiver_port: Annotated[
        int, typer.Option(min=0, max=65535, help="The receiver's port; 0 takes a free one.")
    ] = 8001,
    speed: Annotated[
        float, typer.Option(min=0, help="How long MoRAG takes: 1 as a real server would, 0 no time.")
    ] = 1.0,
    database_url: DatabaseUrl = None,
) -> None:
    """Watch a document's whole way: submitted to a mock MoRAG, received, proven, stored, handled."""
    from rich.console import Console  # noqa: PLC0415  # the CLI's help needs none of these

    from morag_client.cli.demo.handlers import demo_registry  # noqa: PLC0415
    from morag_client.cli.demo.servers import both_servers  # noqa: PLC0415
    from morag_client.cli.demo.session import Session  # noqa: PLC0415
    from morag_client.testing.sample import sample_path  # noqa: PLC0415

    told: Told = queue.SimpleQueue()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Documents may hold what the terminal's encoding does not.
        sys.stdout.reconfigure(errors="replace")
    console = Console(highlight=False)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with ExitStack() as running:
            servers = running.enter_context(
                both_servers(
                    demo_registry(told.put),
                    database_url=database_url or os.environ.get("MORAG_DATABASE_URL") or DEFAULT_DATABASE,
                    morag_port=morag_port,
                    receiver_port=receiver_port,
                    speed=speed,
                )
            )
            session = Session(console, told, servers)
            outcome = session.show(document or running.enter_context(sample_path()))
            option = "" if database_url is None else f" --database-url {servers.inbox_url}"
            session.point_onwards(outcome, option=option, stays=not once)
            if not once:
                session.stay()
    except MoragError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        # Not by the console, which the interrupt may have caught in the middle of a line.
        typer.echo("\nStopped.")
        raise typer.Exit(1 if once else 0) from None
    if not outcome.complete:
        raise typer.Exit(1)
