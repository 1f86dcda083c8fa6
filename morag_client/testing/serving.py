"""An ASGI app on a real socket, in a thread of its own."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
import time
from types import TracebackType
from typing import Final, Self

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from morag_client.errors import ConfigurationError

_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 15.0


class ThreadedServer:
    """Serves an ASGI app, with its lifespan, from `start` to `stop`, or inside a `with`.

    Port 0 takes a free one; `url` then says which. `port_option` is how the user sets the port, named in the
    ConfigurationError that a port in use raises.
    """

    def __init__(self, app: ASGIApp, *, host: str = "127.0.0.1", port: int = 0, port_option: str = "port=") -> None:
        try:
            import uvicorn  # noqa: PLC0415  # only who serves needs it
        except ImportError:
            raise ConfigurationError("serving needs uvicorn: pip install 'morag-client[mock]'") from None
        self._address = (host, port)
        self._port_option = port_option
        self._app = _StartWatch(app)
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._app,
                host=host,
                log_config=None,
                access_log=False,
                proxy_headers=False,
                timeout_graceful_shutdown=5,
            )
        )
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where it is served: `http://127.0.0.1:49152`. Raises RuntimeError where it is not."""
        if self._socket is None:
            raise RuntimeError("not serving: use it in a with statement, or start() it first")
        host, port = self._socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def start(self) -> Self:
        """Returns when it serves. Raises ConfigurationError where the port is taken or the app does not start."""
        self._socket = _bound(*self._address, port_option=self._port_option)
        self._thread = threading.Thread(target=self._serve, args=(self._socket,), name=f"serve {self.url}")
        self._thread.start()
        deadline = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                self.stop()
                raise ConfigurationError(f"the app did not start: {self._app.failure or 'its log says why'}")
            time.sleep(0.005)
        return self

    def stop(self) -> None:
        """Lets running requests end, then the app's lifespan, and frees the port. Stopping twice is no error."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(_STOP_SECONDS)
            self._thread = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _serve(self, bound: socket.socket) -> None:
        # uvicorn leaves its loop by exiting where the app does not start; `start` sees that it never served.
        with contextlib.suppress(SystemExit):
            self._server.run(sockets=[bound])


class _StartWatch:
    """An app, with the reason it gives where it does not start."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.failure = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def watching(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed":
                self.failure = message.get("message", "").strip().rpartition("\n")[2]
            await send(message)

        await self._app(scope, receive, watching if scope["type"] == "lifespan" else send)


def _bound(host: str, port: int, *, port_option: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Only where TCP is named does asyncio turn Nagle's algorithm off; an answer would take 40 ms with it.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(1024)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            reason = f"port {port} of {host} is in use"
        else:
            reason = f"port {port} of {host} cannot be used ({error.strerror})"
        raise ConfigurationError(f"{reason}; stop what listens there, or choose another with {port_option}") from error
    except OverflowError:
        bound.close()
        raise ConfigurationError(f"{port} is no port; choose one from 0 to 65535 with {port_option}") from None
    return bound
