"""`morag-client demo`: a document's whole way on one machine, from a mock MoRAG to handlers."""

from __future__ import annotations

import os
import queue
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from morag_client.cli.serving import DEFAULT_DATABASE, DatabaseUrl
from morag_client.errors import ApiError, ConfigurationError

if TYPE_CHECKING:
    from morag_client.cli.demo_handlers import Note
    from morag_client.events.types import Event

_EVENTS: Final = 14
_SILENCE_SECONDS: Final = 60.0
_SETTLE_SECONDS: Final = 10.0


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(demo)


def demo(
    once: Annotated[
        bool, typer.Option("--once", help="End after the document; exit code 0 if all 14 events were handled.")
    ] = False,
    document: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, readable=True, help="A text of yours. Default: a sample that ships."),
    ] = None,
    morag_port: Annotated[
        int, typer.Option(min=0, max=65535, help="The mock MoRAG's port; 0 takes a free one.")
    ] = 8000,
    receiver_port: Annotated[
        int, typer.Option(min=0, max=65535, help="The receiver's port; 0 takes a free one.")
    ] = 8001,
    speed: Annotated[
        float, typer.Option(min=0, help="How long MoRAG takes: 1 as a real server, 0 no time at all.")
    ] = 1.0,
    database_url: DatabaseUrl = None,
) -> None:
    """Watch a document's whole way: submitted to a mock MoRAG, received, proven, stored, handled."""
    from rich.console import Console  # noqa: PLC0415  # the CLI's help needs none of it

    database_url = database_url or os.environ.get("MORAG_DATABASE_URL") or DEFAULT_DATABASE
    console = Console(highlight=False)
    told: queue.SimpleQueue[Event | Note] = queue.SimpleQueue()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with _both(told, database_url, morag_port, receiver_port, speed) as (mock, receiver_url):
            complete = _show_one(console, told, mock, receiver_url, document, database_url)
            _where_to_look(console, mock, receiver_url, database_url, stays=not once)
            if not once:
                _stay(console, told)
    except (ApiError, ConfigurationError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        console.print("\nStopped.")
        raise typer.Exit(1 if once else 0) from None
    if not complete:
        raise typer.Exit(1)
