"""A request's bytes, within limits."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, MutableMapping
from typing import Any, Final

from morag_client.errors import BodyTimeout, BodyTooLarge, MalformedBody, UnsupportedBody
from morag_client.wire.delivery import Delivery

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_JSON: Final = b"application/json"


class ClientGone(Exception):
    """The client hung up in the middle of the body: there is nobody to answer."""


async def read_delivery(scope: Scope, receive: Receive, *, limit: int, patience: float) -> Delivery:
    """The delivery that a request is; `limit` in bytes, `patience` in seconds for the whole body.

    Raises BodyTooLarge (by Content-Length or while streaming), UnsupportedBody, BodyTimeout, MalformedBody for a
    Content-Length that is no number, and ClientGone.
    """
    headers = tuple(scope["headers"])
    _check_headers(headers, limit)
    reading = _read_body(receive, limit)
    try:
        waits_for = reading.send(None)
    except StopIteration as done:
        # It was there at once, as it nearly always is, and needs no timer, which would cost some of the speed.
        body: bytes = done.value
    else:
        body = await _wait_for_body(reading, waits_for, patience)
    return Delivery(
        body=body,
        headers=headers,
        path=scope["path"],
        query=scope["query_string"].decode("latin-1"),
        method=scope["method"],
    )


async def _wait_for_body(reading: Coroutine[Any, Any, bytes], waits_for: Any, patience: float) -> bytes:
    try:
        async with asyncio.timeout(patience):
            return await _resumed(reading, waits_for)
    except TimeoutError:
        raise BodyTimeout(f"the body did not arrive within {patience:g} s") from None


@types.coroutine
def _resumed(reading: Coroutine[Any, Any, bytes], waits_for: Any) -> Generator[Any, Any, bytes]:
    """Goes on with a coroutine that was begun, and that wants the event loop to wait for something."""
    try:
        while True:
            try:
                value = yield waits_for
            except BaseException as error:  # the coroutine's to deal with, a cancellation above all
                waits_for = reading.throw(error)
            else:
                waits_for = reading.send(value)
    except StopIteration as done:
        body: bytes = done.value
        return body


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
    value = value.strip()  # not every server does
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
