"""Services that events are passed on to: they keep what they are posted, and answer as they are told."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import servers


@dataclass(frozen=True)
class Posted:
    """A request as it came."""

    path: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    status: int = 200
    body: bytes = b"ok"
    headers: dict[str, str] = field(default_factory=dict)


class Service:
    """An ASGI application; `answer` makes a reply of each request, or `replies` are given one after the other."""

    def __init__(self, *replies: Reply, answer: Callable[[Posted], Reply] | None = None) -> None:
        self.posted: list[Posted] = []
        self._replies = list(replies)
        self._answer = answer or self._next

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        query = f"?{scope['query_string'].decode()}" if scope["query_string"] else ""
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        posted = Posted(scope["raw_path"].decode() + query, headers, body)
        assert scope["method"] == "POST"
        reply = self._answer(posted)
        self.posted.append(posted)
        given = [(name.encode(), value.encode()) for name, value in reply.headers.items()]
        given.append((b"content-length", str(len(reply.body)).encode()))
        await send({"type": "http.response.start", "status": reply.status, "headers": given})
        await send({"type": "http.response.body", "body": reply.body})

    def _next(self, _: Posted) -> Reply:
        return self._replies.pop(0) if len(self._replies) > 1 else (self._replies or [Reply()])[0]


@contextlib.contextmanager
def running(service: Service, **options: Any) -> Iterator[str]:
    """The URL of a service on a port of this machine."""
    with servers.serving(service, lifespan="off", **options) as url:
        yield url


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


@contextlib.asynccontextmanager
async def talking(talk: Talk) -> AsyncIterator[int]:
    """The port of a server that says whatever `talk` does."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
