"""The MoRAG that a command line means, and what it answers, in the words of the command line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from morag_client.cli.inboxes import printable
from morag_client.errors import ApiError

if TYPE_CHECKING:
    from morag_client.api.async_client import AsyncMoragClient
    from morag_client.api.async_driver import AsyncDriver

Result = TypeVar("Result")

ApiUrl = Annotated[
    str | None, typer.Option(help="Where MoRAG is. Default: MORAG_API_URL, else http://localhost:8000.", metavar="URL")
]
ApiVersion = Annotated[
    str, typer.Option(help="The release that is there: guide, r1, r2, r3; auto finds out.", metavar="RELEASE")
]
Concurrency = Annotated[int, typer.Option(help="How many requests at once.", min=1, max=64)]

INTERRUPTED: Final = 130
"""The exit code after Ctrl-C, as shells have it."""

_WORDS: Final = (
    ("give api_key= or set MORAG_API_KEY", "set MORAG_API_KEY"),
    ("give another api_key= or set MORAG_API_KEY", "set another MORAG_API_KEY"),
    ("set api_version= to its release", "say its release with --api-version"),
    ("api_version=", "--api-version"),
    ("base_url=", "--api-url"),
)


def client_of(api_url: str | None, api_version: str) -> AsyncMoragClient:
    """A client of the MoRAG that is meant; its key is MORAG_API_KEY. Raises ConfigurationError."""
    from morag_client.api.async_client import AsyncMoragClient  # noqa: PLC0415  # the CLI's help needs none of it

    _quieten()
    return AsyncMoragClient(base_url=api_url, api_version=api_version)


@contextlib.asynccontextmanager
async def asked(api_url: str | None, api_version: str) -> AsyncIterator[AsyncDriver]:
    """What runs questions to the MoRAG that is meant, as `client_of` has it. Raises ConfigurationError."""
    from morag_client.api.async_driver import AsyncDriver  # noqa: PLC0415  # the CLI's help needs none of these
    from morag_client.api.server import server_of  # noqa: PLC0415

    _quieten()
    server = server_of(
        base_url=api_url, api_key=None, api_version=api_version, timeout_seconds=30.0, attempts=4, ssl_context=None
    )
    driver = AsyncDriver(server)
    try:
        yield driver
    finally:
        await driver.close()


def tell(fields: Mapping[str, Any]) -> None:
    """Prints an object in a line, for machines."""
    typer.echo(line_of(fields))


def line_of(fields: Mapping[str, Any]) -> str:
    """An object in a line, without the tokens of signed URLs: MoRAG repeats them."""
    from morag_client.wire.redaction import redacted_text  # noqa: PLC0415  # the CLI's help needs none of it

    return redacted_text(json.dumps(fields))


def said(error: BaseException) -> str:
    """An error in one line, naming options where Python's callers have keywords."""
    from morag_client.api.releases import STAGES_INSTEAD  # noqa: PLC0415  # the CLI's help needs none of it

    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    text = printable(str(error) or type(error).__name__)
    for python, shell in (*_WORDS, (STAGES_INSTEAD, "look with: morag-client tasks")):
        text = text.replace(python, shell)
    return text


@contextlib.contextmanager
def errors_in_words() -> Iterator[None]:
    """Says in one line what MoRAG refused, and raises typer.Exit (1)."""
    try:
        yield
    except ApiError as error:
        typer.echo(f"error: {said(error)}", err=True)
        raise typer.Exit(1) from None


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Runs it in an event loop of its own. SIGTERM is the same as Ctrl-C: raises KeyboardInterrupt."""

    async def until_told() -> Result:
        itself = asyncio.current_task()
        if itself is not None:
            with contextlib.suppress(NotImplementedError):  # as on Windows
                asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, itself.cancel)
        return await work

    try:
        return asyncio.run(until_told())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def ask(question: Coroutine[Any, Any, Result]) -> Result:
    """The answer to a question that can be broken off. Raises typer.Exit for ApiError (1) and for Ctrl-C (130)."""
    try:
        with errors_in_words():
            return run(question)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        raise typer.Exit(INTERRUPTED) from None


def _quieten() -> None:
    """Lets further attempts be made without a word; what became of the last one is said here."""
    logging.getLogger("stamina").setLevel(logging.ERROR)
