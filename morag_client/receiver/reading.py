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


class ClientGone(Exception):
    """The client hung up in the middle of the body: there is nobody to answer."""


async def read_delivery(scope: Scope, receive: Receive, *, limit: int, timeout: float) -> Delivery:
    """The delivery that a request is; `limit` in bytes, `timeout` in seconds for the whole body.

    Raises BodyTooLarge (by Content-Length or while streaming), UnsupportedBody, BodyTimeout, MalformedBody for a
    Content-Length that is no number, and ClientGone.
    """
    headers = tuple(scope["headers"])
    _check_headers(headers, limit)
    first = await receive() if timeout <= 0 else await _within(receive, timeout)
    body: bytes = first.get("body", b"")
    if first["type"] == "http.disconnect":
        raise ClientGone
    if first.get("more_body", False):
        body = await _read_on(body, receive, limit, timeout)
    if len(body) > limit:
        raise BodyTooLarge(f"the body is over {limit} bytes")
    return Delivery(
        body=body,
        headers=headers,
        path=scope["path"],
        query=scope["query_string"].decode("latin-1"),
        method=scope["method"],
    )


async def _within(receive: Receive, timeout: float) -> Message:
    try:
        async with asyncio.timeout(timeout):
            return await receive()
    except TimeoutError:
        raise BodyTimeout(f"the body did not arrive within {timeout:g} s") from None


async def _read_on(body: bytes, receive: Receive, limit: int, timeout: float) -> bytes:
    parts, size = [body], len(body)
    try:
        async with asyncio.timeout(timeout):
            more = True
            while more:
                if size > limit:
                    raise BodyTooLarge(f"the body is over {limit} bytes")
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                part = message.get("body", b"")
                parts.append(part)
                size += len(part)
                more = message.get("more_body", False)
    except TimeoutError:
        raise BodyTimeout(f"the body did not arrive within {timeout:g} s") from None
    return b"".join(parts)


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
