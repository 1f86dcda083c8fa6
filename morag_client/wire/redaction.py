"""Taking the tokens of signed URLs out of what is kept: MoRAG repeats the URL that it posts to in the body."""

from __future__ import annotations

import dataclasses
import re
from typing import Final

from morag_client.wire.delivery import Delivery

REDACTED: Final = "REDACTED"

_MARK: Final = "morag-"
_BYTES_MARK: Final = _MARK.encode()
_TOKEN: Final = re.compile(r"morag-[a-z][0-9]\.[A-Za-z0-9_.-]{32,}")
_BYTES_TOKEN: Final = re.compile(_TOKEN.pattern.encode())
_ESCAPED_ASCII: Final = re.compile(rb"\\u00[2-7]")
_ESCAPE: Final = re.compile(
    rb"(?<!\\)((?:\\\\)*)\\u00(2[de]|3[0-9]|4[1-9a-f]|5[0-9af]|6[1-9a-f]|7[0-9a])", re.IGNORECASE
)


def redacted(delivery: Delivery) -> Delivery:
    """The delivery without any token, in its path, query, headers and body, and without its own.

    What else it says stays, byte by byte.
    """
    body = redacted_bytes(delivery.body)
    is_plain = delivery.token is None and _MARK not in delivery.query and _MARK not in delivery.path
    if is_plain and body is delivery.body and not any(_BYTES_MARK in value for _, value in delivery.headers):
        return delivery
    return dataclasses.replace(
        delivery,
        body=body,
        headers=tuple((name, _without_tokens(value)) for name, value in delivery.headers),
        path=redacted_text(delivery.path),
        query=redacted_text(delivery.query),
        token=None,
    )


def redacted_text(text: str) -> str:
    """The text without tokens."""
    return _TOKEN.sub(REDACTED, text) if _MARK in text else text


def redacted_bytes(body: bytes) -> bytes:
    """The bytes without tokens, also where JSON escapes letters that need no escape."""
    body = _without_tokens(body)
    if _ESCAPED_ASCII.search(body) is not None:  # nearly never; letters such as \u00fc are not meant
        plain = _ESCAPE.sub(_spelt_out, body)
        if _BYTES_TOKEN.search(plain) is not None:
            return _without_tokens(plain)
    return body


def _without_tokens(text: bytes) -> bytes:
    return _BYTES_TOKEN.sub(REDACTED.encode(), text) if _BYTES_MARK in text else text


def _spelt_out(escape: re.Match[bytes]) -> bytes:
    return escape[1] + bytes([int(escape[2], 16)])
