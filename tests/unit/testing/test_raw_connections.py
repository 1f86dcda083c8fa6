"""Exchanges over bare sockets: connections that are kept, and what a receiver may do instead of answering."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from morag_client.testing.delivering import Answer, Attempt, Message, Transit
from morag_client.testing.raw.connections import Connections

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BODY = b'{"a":"' + b"x" * 1000 + b'"}'
Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Peer:
    """A server that behaves as it is told to on each connection."""

    def __init__(self, behave: Behaviour) -> None:
        self.connections = 0
        self.bodies: list[bytes] = []
        self.url = ""
        self.open: set[asyncio.Task[None] | None] = set()
        self._behave = behave

    async def take(self, reader: asyncio.StreamReader) -> None:
        """Reads a request."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        self.bodies.append(await reader.readexactly(length))

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open.add(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await self._behave(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


Told = Callable[[Peer, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def peer(behave: Told) -> AsyncIterator[Peer]:
    made = Peer(lambda reader, writer: behave(made, reader, writer))
    server = await asyncio.start_server(made.accept, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/webhook"
    try:
        yield made
    finally:
        server.close()
        if made.open:
            await asyncio.wait(made.open, timeout=5)


@contextlib.asynccontextmanager
async def connecting() -> AsyncIterator[Connections]:
    made = Connections()
    try:
        yield made
    finally:
        made.close()
        await asyncio.sleep(0)


def attempt(url: str, *, timeout: float = 5.0, **transit: object) -> Attempt:
    message = Message("task.started", "envelope", url, BODY, {"Content-Type": "application/json"})
    return Attempt(message, timeout, Transit(**transit))  # type: ignore[arg-type]


async def answering(there: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await there.take(reader)
        writer.write(OK)


async def exchange_with(answer: bytes | None, **given: float) -> Answer:
    """What comes of it where this is answered and the connection then ends; None never answers."""

    async def behave(there: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await there.take(reader)
        if answer is None:
            await reader.read()
        else:
            writer.write(answer)

    async with peer(behave) as there, connecting() as connections:
        return await connections.exchange(attempt(there.url, **given))


async def test_a_connection_is_kept_for_the_next_request() -> None:
    async with peer(answering) as there, connecting() as connections:
        answers = [await connections.exchange(attempt(there.url)) for _ in range(5)]

    assert [(answer.status_code, answer.text) for answer in answers] == [(200, "ok")] * 5
    assert there.connections == 1
    assert there.bodies == [BODY] * 5


async def test_requests_at_the_same_time_have_connections_of_their_own() -> None:
    async with peer(answering) as there, connecting() as connections:
        for _ in range(3):
            await asyncio.gather(*(connections.exchange(attempt(there.url)) for _ in range(4)))

    assert there.connections == 4


async def test_what_a_server_closes_is_not_used_again() -> None:
    async def once(there: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await there.take(reader)
        writer.write(OK)

    async with peer(once) as there, connecting() as connections:
        for _ in range(3):
            assert (await connections.exchange(attempt(there.url))).status_code == 200
            await asyncio.sleep(0.02)

    assert there.connections == 3


@pytest.mark.parametrize("transit", [{"reset": "answered"}, {"reset": "early"}, {"cut_at": 10}])
async def test_what_was_broken_is_not_used_again(transit: dict[str, object]) -> None:
    async with peer(answering) as there, connecting() as connections:
        assert (await connections.exchange(attempt(there.url))).status_code == 200
        assert (await connections.exchange(attempt(there.url, **transit))).error  # type: ignore[arg-type]
        assert (await connections.exchange(attempt(there.url))).status_code == 200

    assert there.connections == 2


async def test_a_large_body_is_out_before_it_is_reset() -> None:
    body = b"x" * 5_000_000
    async with peer(answering) as there, connecting() as connections:
        message = Message("task.started", "envelope", there.url, body, {})
        answer = await connections.exchange(Attempt(message, 5.0, Transit(reset="answered")))

    assert answer.error == "the connection was reset"
    assert there.bodies == [body]


async def test_a_slow_body_is_whole() -> None:
    async with peer(answering) as there, connecting() as connections:
        answer = await connections.exchange(attempt(there.url, body_seconds=0.3))

    assert answer.status_code == 200
    assert answer.seconds >= 0.3
    assert there.bodies == [BODY]


async def test_another_body_arrives() -> None:
    async with peer(answering) as there, connecting() as connections:
        assert (await connections.exchange(attempt(there.url, body=b"{}"))).status_code == 200

    assert there.bodies == [b"{}"]


async def test_no_answer_in_time() -> None:
    answer = await exchange_with(None, timeout=0.1)

    assert (answer.status_code, answer.error) == (None, "timed out")
    assert 0.1 <= answer.seconds < 2


@pytest.mark.parametrize("reset", ["answered"])
async def test_no_answer_to_be_lost_in_time(reset: str) -> None:
    async def silent(there: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with peer(silent) as there, connecting() as connections:
        answer = await connections.exchange(attempt(there.url, timeout=0.1, reset=reset))

    assert answer.error == "timed out"


@pytest.mark.parametrize(
    ("answered", "says"),
    [
        (b"", "the receiver hung up without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", "the receiver hung up in the middle of the answer"),
        (b"220 ready\r\n\r\n", "the answer begins with b'220 ready'"),
    ],
)
async def test_what_came_instead_of_an_answer(answered: bytes, says: str) -> None:
    answer = await exchange_with(answered)

    assert (answer.status_code, answer.error) == (None, says)


async def test_nobody_there() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        async with connecting() as connections:
            answer = await connections.exchange(attempt(f"http://127.0.0.1:{probe.getsockname()[1]}/"))

    assert answer.error == "connection refused"


async def test_no_such_name() -> None:
    async with connecting() as connections:
        answer = await connections.exchange(attempt("http://nowhere.invalid/"))

    assert answer.status_code is None
    assert answer.error


async def test_after_its_end_nothing_is_sent() -> None:
    async with peer(answering) as there, connecting() as connections:
        connections.close()
        answer = await connections.exchange(attempt(there.url))

    assert answer.error == "the emitter is closed"
    assert there.connections == 0


async def test_what_speaks_no_tls_is_an_error() -> None:
    async with peer(answering) as there, connecting() as connections:
        answer = await connections.exchange(attempt(there.url.replace("http:", "https:"), timeout=0.3))

    assert answer.status_code is None
    assert answer.error


async def test_an_early_reset_comes_when_the_request_is_out() -> None:
    body, read = b"x" * 30_000_000, 0

    async def counting(there: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal read
        while data := await reader.read(1 << 16):
            read += len(data)

    async with peer(counting) as there, connecting() as connections:
        message = Message("task.started", "envelope", there.url, body, {})
        answer = await connections.exchange(Attempt(message, 20.0, Transit(reset="early")))

    assert answer.error == "the connection was reset"
    assert read > len(body) / 2  # what the kernel had not brought over yet is lost with the connection


async def test_an_answer_that_ends_with_its_connection() -> None:
    answer = await exchange_with(b"HTTP/1.1 200 OK\r\n\r\nhello")

    assert (answer.status_code, answer.text) == (200, "hello")


async def test_whoever_gives_up_hangs_up() -> None:
    gone = asyncio.Event()

    async def silent(there: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        gone.set()

    async with peer(silent) as there, connecting() as connections:
        answer = await connections.exchange(attempt(there.url, timeout=0.1))
        await asyncio.wait_for(gone.wait(), 2)

    assert answer.error == "timed out"
