"""Many connections that are kept open, each with one request after the other on it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import servers

_PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered, and after how many seconds; 0 where the connection was closed instead."""

    status: int
    body: bytes
    seconds: float

    @property
    def word(self) -> Any:
        """`received` or `duplicate`, or what else the answer says its status is."""
        return json.loads(self.body)["status"]


class Sender:
    """One connection to a receiver, made again where it was closed."""

    def __init__(self, url: str) -> None:
        self._where = urlsplit(url)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, body: bytes) -> Answer:
        return await self.send(request_of(body))

    async def send(self, request: bytes) -> Answer:
        began = time.monotonic()
        status, answered = 0, b""
        try:
            async with asyncio.timeout(_PATIENCE):
                status, answered = await self._exchange(request)
        except (OSError, asyncio.IncompleteReadError):
            self.close()
        return Answer(status, answered, time.monotonic() - began)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _exchange(self, request: bytes) -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._where.hostname, self._where.port)
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        answered = await reader.readexactly(length)
        if b"connection: close" in head:
            self.close()
        return int(head.split(b" ", 2)[1]), answered


@contextlib.asynccontextmanager
async def senders(*urls: str, each: int) -> AsyncIterator[list[Sender]]:
    """So many connections to each of these receivers, first all of the first."""
    made = [Sender(url) for url in urls for _ in range(each)]
    try:
        yield made
    finally:
        for sender in made:
            sender.close()


def request_of(body: bytes) -> bytes:
    return servers.request_bytes(body, servers.signed(body))
