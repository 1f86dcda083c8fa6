"""Requests over connections that are kept open, in one event loop, and everything that can befall them."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from typing import Any, Final

from morag_client.testing.delivering import AS_USUAL, Answer, Attempt, Transit
from morag_client.testing.raw.http import AnswerReader, NotHttp, Target, request_head, target_of

_TEXT: Final = 500
"""Characters of an answer that are kept."""
_PIECES_A_SECOND: Final = 20
_A_LITTLE: Final = 0.001
"""Seconds."""


class BrokenOff(OSError):
    """A connection ended before its answer; the message says how."""


class Connections:
    """Connections to any number of receivers. Nothing goes through a proxy: bytes arrive as they are sent here."""

    def __init__(self) -> None:
        self._idle: dict[Target, list[_Connection]] = {}
        self._open: set[_Connection] = set()
        self._tls: ssl.SSLContext | None = None
        self._closed = False

    async def exchange(self, attempt: Attempt) -> Answer:
        """Posts an attempt's message: connecting may take its timeout, and so may the answer."""
        began = time.perf_counter()
        if self._closed:
            return Answer(seconds=0.0, error="the emitter is closed")
        try:
            reader = await self._exchange(attempt)
        except TimeoutError:
            return Answer(seconds=time.perf_counter() - began, error="timed out")
        except (OSError, NotHttp) as error:
            return Answer(seconds=time.perf_counter() - began, error=_reason(error))
        seconds = time.perf_counter() - began
        text = reader.body.decode(errors="replace")[:_TEXT]
        return Answer(seconds=seconds, status_code=reader.status, text=text)

    def close(self) -> None:
        """Ends all connections, in the middle of an answer too."""
        self._closed = True
        for connection in tuple(self._open):
            connection.abort()

    async def _exchange(self, attempt: Attempt) -> AnswerReader:
        message, transit = attempt.message, attempt.transit
        target = target_of(message.url)
        body = message.body if transit.body is None else transit.body
        head = request_head(target, message.headers, length=len(body))
        connection = self._kept(target) or await self._connect(target, attempt.timeout_seconds)
        connection.expect()
        try:
            if transit is AS_USUAL or transit == AS_USUAL:
                connection.write(head + body)
            else:
                await connection.send_in(transit, head, body, patience=attempt.timeout_seconds)
            async with asyncio.timeout(attempt.timeout_seconds):
                reader = await connection.answer()
        except BaseException:
            connection.abort()  # whoever gives up hangs up, and whatever breaks off ends here
            raise
        if reader.is_reusable and not connection.is_closed:
            self._idle.setdefault(target, []).append(connection)
        else:
            connection.abort()
        return reader

    def _kept(self, target: Target) -> _Connection | None:
        idle = self._idle.get(target, [])
        while idle:
            connection = idle.pop()
            if not connection.is_closed:
                return connection
        return None

    async def _connect(self, target: Target, patience: float) -> _Connection:
        loop = asyncio.get_running_loop()
        tls = self._context() if target.is_tls else None
        async with asyncio.timeout(patience):
            _, made = await loop.create_connection(lambda: _Connection(self._open), target.host, target.port, ssl=tls)
        return made

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls


class _Connection(asyncio.Protocol):
    """One connection, with at most one request under way on it."""

    def __init__(self, among: set[_Connection]) -> None:
        self.is_closed = False
        self._among = among
        self._transport: Any = None
        self._reader = AnswerReader()
        self._answered: asyncio.Future[AnswerReader] | None = None
        self._begun: asyncio.Event | None = None

    def expect(self) -> None:
        """Gets ready for an answer."""
        self._reader = AnswerReader()
        self._answered = asyncio.get_running_loop().create_future()

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    async def answer(self) -> AnswerReader:
        """The answer, once it is complete. Raises BrokenOff, NotHttp."""
        assert self._answered is not None  # noqa: S101  # `expect` came first
        return await self._answered

    async def send_in(self, transit: Transit, head: bytes, body: bytes, *, patience: float) -> None:
        """Sends a request as the transit has it. Raises BrokenOff where it ends with that, and TimeoutError."""
        arriving = body if transit.cut_at is None else body[: transit.cut_at]
        if transit.body_seconds:
            self.write(head)
            await self._trickle(arriving, seconds=transit.body_seconds)
        else:
            self.write(head + arriving)
        async with asyncio.timeout(patience):
            await self._written()
            if transit.reset == "answered" and transit.cut_at is None:
                await self._answer_begun()
        if transit.reset is not None:
            self._reset()
            raise BrokenOff("the connection was reset")
        if transit.cut_at is not None:
            raise BrokenOff(f"the connection ended after {len(arriving)} of {len(body)} bytes of the body")

    def abort(self) -> None:
        """Ends it at once."""
        self.is_closed = True
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._among.add(self)

    def data_received(self, data: bytes) -> None:
        answered = self._answered
        if answered is None or answered.done():
            self.abort()  # an answer that nobody asked for: nothing on this connection can be trusted any more
            return
        try:
            is_complete = self._reader.feed(data)
        except NotHttp as error:
            answered.set_exception(error)
            return
        if self._begun is not None:
            self._begun.set()
        if is_complete:
            answered.set_result(self._reader)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_closed = True
        self._among.discard(self)
        if self._begun is not None:
            self._begun.set()
        if self._answered is None or self._answered.done():
            return
        if self._reader.end():
            self._answered.set_result(self._reader)
        else:
            how = "in the middle of the answer" if self._reader.has_begun else "without an answer"
            self._answered.set_exception(BrokenOff(str(error) if error else f"the receiver hung up {how}"))
            self._answered.exception()  # whoever was about to wait for it may be gone

    async def _trickle(self, body: bytes, *, seconds: float) -> None:
        for piece, pause in _pieces(body, seconds=seconds):
            if self.is_closed or self._answered is None or self._answered.done():
                return  # it has answered already, or hung up: to go on would say nothing
            self.write(piece)
            await asyncio.sleep(pause)

    async def _written(self) -> None:
        # A transport tells of what falls below its limits, and TLS's takes a limit of 0 for one never to fall below.
        while self._transport.get_write_buffer_size() and not self.is_closed:
            await asyncio.sleep(_A_LITTLE)

    async def _answer_begun(self) -> None:
        if self._answered is not None and not self._answered.done() and not self._reader.has_begun:
            self._begun = asyncio.Event()
            await self._begun.wait()

    def _reset(self) -> None:
        own: socket.socket | None = self._transport.get_extra_info("socket")
        if own is not None and own.fileno() != -1:
            with contextlib.suppress(OSError):
                own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.abort()


def _pieces(body: bytes, *, seconds: float) -> Iterator[tuple[bytes, float]]:
    """The body in pieces, each with the pause after it."""
    count = max(1, min(len(body), math.ceil(seconds * _PIECES_A_SECOND)))
    for number in range(count):
        begin, end = number * len(body) // count, (number + 1) * len(body) // count
        yield body[begin:end], seconds / count


def _reason(error: Exception) -> str:
    if isinstance(error, BrokenOff | NotHttp):
        return str(error)
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(said)
