"""A request's bytes, within limits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from morag_client.errors import BodyTimeout, BodyTooLarge, MalformedBody, UnsupportedBody
from morag_client.wire.delivery import Delivery

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_JSON: Final = b"application/json"
_LOOKS: Final = 10
"""How often within the time limit it is looked who is over it."""


class ClientGone(Exception):
    """The client hung up in the middle of the body: there is nobody to answer."""


class Patience:
    """How long a body is waited for: one timer for all requests, since one for each costs a twentieth of the speed."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._reading: dict[asyncio.Task[Any], float] = {}
        self._expired: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self) -> asyncio.Task[Any]:
        """The current task waits for a body from now on; `end` it. It is cancelled when its time is over."""
        task = asyncio.current_task()
        if task is None:  # no ASGI server runs an application outside of a task
            raise RuntimeError("a request is read outside of a task")
        loop = task.get_loop()
        if self._timer is None or self._loop is not loop:
            self._loop = loop
            self._timer = loop.call_later(self.seconds / _LOOKS, self._look)
        self._reading[task] = loop.time() + self.seconds
        return task

    def end(self, task: asyncio.Task[Any]) -> None:
        """The task waits no longer."""
        self._reading.pop(task, None)

    def ran_out(self, task: asyncio.Task[Any]) -> bool:
        """Whether it was cancelled because its time was over; asked once, it is an ordinary task again."""
        if task not in self._expired:
            return False
        self._expired.discard(task)
        task.uncancel()
        return True

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for task in [task for task, until in self._reading.items() if until <= now]:
            del self._reading[task]
            self._expired.add(task)
            task.cancel()
        self._timer = loop.call_later(self.seconds / _LOOKS, self._look) if self._reading else None


async def read_delivery(scope: Scope, receive: Receive, *, limit: int, patience: Patience) -> Delivery:
    """The delivery that a request is; `limit` in bytes, `patience` for the whole body.

    Raises BodyTooLarge (by Content-Length or while streaming), UnsupportedBody, BodyTimeout, MalformedBody for a
    Content-Length that is no number, and ClientGone.
    """
    headers = tuple(scope["headers"])
    _check_headers(headers, limit)
    task = patience.begin()
    try:
        body = await _read_body(receive, limit)
    except asyncio.CancelledError:
        if patience.ran_out(task):
            raise BodyTimeout(f"the body did not arrive within {patience.seconds:g} s") from None
        raise
    finally:
        patience.end(task)
    return Delivery(
        body=body,
        headers=headers,
        path=scope["path"],
        query=scope["query_string"].decode("latin-1"),
        method=scope["method"],
    )


async def _read_body(receive: Receive, limit: int) -> bytes:
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise BodyTooLarge(f"the body is over {limit} bytes")
        parts.append(part)
        more = message.get("more_body", False)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _check_headers(headers: tuple[tuple[bytes, bytes], ...], limit: int) -> None:
    content_type = None
    for key, value in headers:
        if key == b"content-type":
            content_type = value
        elif key == b"content-length":
            _check_length(value, limit)
        elif key == b"content-encoding" and value.strip().lower() not in {b"", b"identity"}:
            raise UnsupportedBody("a content encoding is not accepted; send the JSON as it is")
    if content_type != _JSON:
        _check_type(content_type)


def _check_length(value: bytes, limit: int) -> None:
    if not value.isdigit():
        raise MalformedBody("Content-Length is no number")
    # The digits are counted first: a number of thousands of them is not worth converting.
    if len(value.lstrip(b"0")) > len(str(limit)) or int(value) > limit:
        raise BodyTooLarge(f"the body is over {limit} bytes")


def _check_type(value: bytes | None) -> None:
    if value is None:
        raise UnsupportedBody("Content-Type is missing; send application/json")
    kind, *parameters = [part.strip().lower() for part in value.split(b";")]
    if kind != _JSON:
        raise UnsupportedBody("Content-Type is not application/json")
    for parameter in parameters:
        name, _, charset = parameter.partition(b"=")
        if name.strip() == b"charset" and charset.strip().strip(b'"') not in {b"utf-8", b"utf8", b"us-ascii"}:
            raise UnsupportedBody("JSON is read as UTF-8 only")
