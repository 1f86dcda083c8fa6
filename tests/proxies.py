"""A TCP proxy before a server, that can be told to be one of the ways in which a network fails."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")

Mode = Literal["pass", "refuse", "hang", "deaf", "reset"]
"""`refuse`: nobody listens, and open connections are cut off. `hang`: nothing gets through, neither way. `deaf`: what
is asked gets through, the answers do not. `reset`: whoever connects, or is connected, is reset."""


class Proxy:
    """Passes on what it gets, until it is told otherwise; usable from every thread and any event loop."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._mode: Mode = "pass"
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._changed = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")
        self._thread.start()
        self.port = self._run(self._listen(0))

    def through(self, url: str) -> str:
        """The URL of the same behind this proxy."""
        parts = urlsplit(url)
        user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
        return parts._replace(netloc=f"{user}127.0.0.1:{self.port}").geturl()

    def set(self, mode: Mode) -> None:
        """What it is from now on, for open connections too; what was held back goes on its way with `pass`."""
        self._run(self._switch(mode))

    def strand(self) -> None:
        """Lets the connections of now hang for ever, as behind a firewall that has forgotten them; others pass."""
        self._run(self._strand())

    @property
    def connections(self) -> int:
        return len(self._links)

    def close(self) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self, port: int) -> int:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", port)
        return self._server.sockets[0].getsockname()[1]

    async def _switch(self, mode: Mode) -> None:
        self._mode = mode
        if mode == "refuse" and self._server is not None:
            self._server.close()
            self._server = None
        if mode in {"refuse", "reset"}:
            for link in list(self._links):
                link.reset()
        if mode != "refuse" and self._server is None:
            await self._listen(self.port)
        self._wake()

    async def _strand(self) -> None:
        for link in self._links:
            link.is_stranded = True

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for link in list(self._links):
            link.reset()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.wait(rest) if rest else None

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(writer)
        self._links.add(link)
        try:
            if self._mode == "reset":
                link.reset()
                return
            await self._opened(link, answers=False)
            there = link.there = await asyncio.open_connection(*self._target)
            asking = asyncio.create_task(self._pump(link, reader, there[1], answers=False))
            answering = asyncio.create_task(self._pump(link, there[0], writer, answers=True))
            await asyncio.wait([asking, answering])
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            link.reset()
            self._links.discard(link)

    async def _pump(
        self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._opened(link, answers=answers)
                writer.write(data)
                await writer.drain()
            await self._opened(link, answers=answers)
            if writer.can_write_eof():
                writer.write_eof()

    async def _opened(self, link: _Link, *, answers: bool) -> None:
        while link.is_stranded or self._mode == "hang" or (answers and self._mode == "deaf"):
            await self._changed.wait()


class _Link:
    """A connection, and the one that was made for it to the server."""

    def __init__(self, here: asyncio.StreamWriter) -> None:
        self.here = here
        self.there: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.is_stranded = False

    def reset(self) -> None:
        for writer in (self.here, *([self.there[1]] if self.there else [])):
            taken = writer.get_extra_info("socket")
            if taken is not None and taken.fileno() != -1:
                taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


@contextlib.contextmanager
def before(url: str) -> Iterator[Proxy]:
    """A proxy before the server that a URL names."""
    parts = urlsplit(url)
    proxy = Proxy(parts.hostname or "127.0.0.1", parts.port or 5432)
    try:
        yield proxy
    finally:
        proxy.close()
