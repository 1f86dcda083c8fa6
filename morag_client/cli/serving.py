"""`morag-client serve`: a receiver on a socket."""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import logging
import math
import os
import signal
import socket
import sys
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from morag_client.errors import ConfigurationError, MoragError

if TYPE_CHECKING:
    import uvicorn

    from morag_client.receiver.receiver import Receiver

DEFAULT_DATABASE = "sqlite:///morag.db"

DatabaseUrl = Annotated[
    str | None,
    typer.Option("--database-url", help=f"The inbox. Default: MORAG_DATABASE_URL, else {DEFAULT_DATABASE}."),
]


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(serve)


def serve(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODULE:RECEIVER]",
            help="Your receiver with its handlers. Without it deliveries are stored and logged, to be handled later.",
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on; 0 takes a free one.", min=0, max=65535)] = 8001,
    database_url: DatabaseUrl = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Believe everybody. On a developer's machine only.")
    ] = False,
    inspect: Annotated[
        bool, typer.Option("--inspect", help="Show what was received to requests from this machine.")
    ] = False,
    no_access_log: Annotated[bool, typer.Option("--no-access-log", help="Do not log each delivery.")] = False,
) -> None:
    """Receive webhooks."""
    _log(with_deliveries=not no_access_log)
    # The receiver of a module is built by that module: the environment is how it learns of these.
    for name, value in (("INSECURE", insecure), ("INSPECT", inspect)):
        if value:
            os.environ[f"MORAG_{name}"] = "true"
    choose_database(database_url)
    receiver = load_receiver(target) if target else _plain_receiver()
    with listen(host, port) as listener:
        _announce(receiver, listener)
        run_server(receiver, listener)


def choose_database(database_url: str | None) -> str:
    """The database that is meant, said to every receiver that names none of its own."""
    url = database_url or os.environ.get("MORAG_DATABASE_URL") or DEFAULT_DATABASE
    os.environ["MORAG_DATABASE_URL"] = url
    return url


def load_receiver(target: str) -> Receiver:
    """The receiver that `module:attribute` names. Raises ConfigurationError."""
    from morag_client.receiver.receiver import Receiver  # noqa: PLC0415  # the CLI's help needs none of it

    module_name, _, attribute = target.partition(":")
    if not module_name or module_name.startswith("."):
        raise ConfigurationError(f"{target!r} names no module; expected MODULE:RECEIVER, for example app:receiver")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found = importlib.import_module(module_name)
    except MoragError:
        raise
    except Exception as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and (module_name == missing or module_name.startswith(f"{missing}.")):
            raise ConfigurationError(f"there is no module {missing!r} here; expected MODULE:RECEIVER") from error
        raise ConfigurationError(f"{module_name!r} cannot be imported:\n{_told_by_the_module(error)}") from error
    receiver = getattr(found, attribute or "receiver", None)
    if not isinstance(receiver, Receiver):
        raise ConfigurationError(
            f"{target!r} is no Receiver; expected MODULE:RECEIVER, for example app:receiver"
            " (an application that mounts one is served by uvicorn itself)"
        )
    return receiver


def _told_by_the_module(error: Exception) -> str:
    """The traceback from the module's own lines on: how we came to import it helps nobody."""
    place = error.__traceback__
    while place is not None and _is_importing(place.tb_frame.f_code.co_filename):
        place = place.tb_next
    return "".join(traceback.format_exception(type(error), error, place)).rstrip()


def _is_importing(filename: str) -> bool:
    return filename in {__file__, importlib.__file__} or filename.startswith("<frozen importlib")


def listen(host: str, port: int, *, option: str = "--port") -> socket.socket:
    """A listening socket. Raises ConfigurationError naming the port and the option to change it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except (socket.gaierror, UnicodeError) as error:
        listener.close()
        raise ConfigurationError(f"there is no address {host!r} on this machine; choose another with --host") from error
    except OSError as error:
        listener.close()
        advice = f"port with {option}" if error.errno != errno.EADDRNOTAVAIL else "address with --host"
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; choose another {advice}"
        ) from error
    return listener


def run_server(receiver: Receiver, listener: socket.socket) -> None:
    """Serves until SIGINT or SIGTERM; a second one ends the process at once. Raises what kept it from starting."""
    ending = _Ending()
    server = _make_server(receiver)
    ending.of(server)
    _spare_the_collector()
    with contextlib.suppress(SystemExit):  # uvicorn's own where the receiver did not start
        server.run(sockets=[listener])
    if not server.started:
        raise receiver.start_error or typer.Exit(1)


class _Ending:
    """Listens to the signals that end a server, from the moment on that this is made."""

    def __init__(self) -> None:
        self._server: uvicorn.Server | None = None
        self._is_asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._end)

    def of(self, server: uvicorn.Server) -> None:
        """Ends this server, also where it was asked for before."""
        self._server = server
        if self._is_asked:
            server.should_exit = True

    def _end(self, number: int, _frame: object) -> None:
        if self._is_asked:
            # Not by an exception, which a handler could catch: as if killed, which loses nothing either.
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._is_asked = True
        if self._server is not None:
            self._server.should_exit = True


def _make_server(receiver: Receiver) -> uvicorn.Server:
    import uvicorn  # noqa: PLC0415  # the CLI's help needs none of it

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Leaves the signals to us: uvicorn knows no second SIGTERM, and raises the first again at its end."""
            yield

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            """Ends the answers that would never end by themselves, for which uvicorn would wait."""
            await receiver.hang_up()
            await super().shutdown(sockets)

    settings = receiver.settings
    # The answers come before the grace time of the handlers: no longer than one can take that will still be a 200.
    for_answers = min(settings.grace, settings.commit_timeout + 1)
    return Server(
        uvicorn.Config(
            receiver,
            access_log=False,
            log_config=None,
            log_level="warning",
            lifespan="on",
            proxy_headers=False,
            server_header=False,
            ws_per_message_deflate=False,  # each message would be compressed for each of its readers
            timeout_graceful_shutdown=max(1, math.ceil(for_answers)),
        )
    )


def _spare_the_collector() -> None:
    """Keeps the garbage collector from walking what was imported again and again; it halves the slowest answers."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _plain_receiver() -> Receiver:
    from morag_client.handlers.registry import Registry  # noqa: PLC0415
    from morag_client.receiver.receiver import Receiver  # noqa: PLC0415

    return Receiver(registry=Registry())


def _log(*, with_deliveries: bool) -> None:
    from morag_client.cli.logs import log_to_terminal  # noqa: PLC0415  # which needs this module

    log_to_terminal()
    logging.captureWarnings(capture=True)
    # What stands in our own code says nothing to whoever serves.
    warnings.formatwarning = lambda message, *_, **__: str(message)
    warnings.simplefilter("always", UserWarning)
    logging.getLogger("morag_client.receiver").setLevel(logging.INFO if with_deliveries else logging.WARNING)
    logging.getLogger("morag_client.reconcile").setLevel(logging.INFO)


def _announce(receiver: Receiver, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    typer.echo(f"Webhooks to   http://{shown}:{port}/webhook")
    typer.echo(f"Inbox         {receiver.inbox_url}")
    handlers = receiver.handler_names
    typer.echo(f"Handlers      {', '.join(handlers) if handlers else 'none: deliveries are stored and wait for some'}")
    if receiver.settings.inspect or receiver.settings.dashboard_password is not None:
        typer.echo(f"Look inside   http://{shown}:{port}/dashboard, /webhooks and /api/events")
    sys.stdout.flush()
