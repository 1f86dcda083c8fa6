"""Requests as bytes, and answers read from bytes as they come; no I/O."""

from __future__ import annotations

import base64
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

import httpx2

_BLANK_LINE: Final = b"\r\n\r\n"
_LONGEST_HEAD: Final = 64 * 1024
_WITHOUT_BODY: Final = frozenset({204, 304})
_OK: Final = 200


class NotHttp(Exception):
    """What came back is no answer of HTTP/1.1."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL leads: the host and port to connect to, and the beginning of every request there."""

    host: str
    port: int
    is_tls: bool
    opening: bytes


@functools.lru_cache(maxsize=1024)
def target_of(url: str) -> Target:
    """The target of an http or https URL, as httpx2 reads it."""
    parsed = httpx2.URL(url)
    is_tls = parsed.scheme == "https"
    opening = b"POST %s HTTP/1.1\r\nHost: %s\r\n" % (parsed.raw_path, parsed.netloc)
    if parsed.userinfo:
        opening += b"Authorization: Basic %s\r\n" % base64.b64encode(unquote_to_bytes(parsed.userinfo))
    return Target(parsed.host, parsed.port or (443 if is_tls else 80), is_tls, opening)


def request_head(target: Target, headers: Mapping[str, str], *, length: int) -> bytes:
    """A request up to its body of `length` bytes."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return b"%sAccept: */*\r\n%sContent-Length: %d\r\n\r\n" % (target.opening, lines.encode("latin-1"), length)


class AnswerReader:
    """Reads one answer. `status` is 0 until its head is there; `body` grows; `is_reusable` holds at the end."""

    __slots__ = ("_chunked", "_head_seen", "_missing", "_waiting", "body", "is_reusable", "status")

    def __init__(self) -> None:
        self.status = 0
        self.body = b""
        self.is_reusable = True
        self._waiting = b""
        self._head_seen = False
        self._missing: int | None = 0
        self._chunked = False

    @property
    def has_begun(self) -> bool:
        """Whether anything has come."""
        return self._head_seen or bool(self._waiting)

    def feed(self, data: bytes) -> bool:
        """Takes what has come; True where the answer is complete. Raises NotHttp."""
        if self._head_seen:
            return self._take(data)
        data = self._waiting + data
        while not self._head_seen:
            head, found, rest = data.partition(_BLANK_LINE)
            if not found:
                if len(head) > _LONGEST_HEAD:
                    raise NotHttp("the answer's head does not end")
                self._waiting = data
                return False
            self._read_head(head)
            data = rest
        self._waiting = b""
        return self._take(data)

    def end(self) -> bool:
        """The connection has ended; True where that completes the answer."""
        self.is_reusable = False
        return self._head_seen and self._missing is None and not self._chunked

    def _read_head(self, head: bytes) -> None:
        first, _, rest = head.partition(b"\r\n")
        version, _, said = first.partition(b" ")
        try:
            status = int(said[:3])
        except ValueError:
            raise NotHttp(f"the answer begins with {first[:40]!r}") from None
        if not version.startswith(b"HTTP/1."):
            raise NotHttp(f"the answer begins with {first[:40]!r}")
        if status < _OK:
            return  # 100 Continue and its like: the answer is still to come
        self.status = status
        self._head_seen = True
        fields = _fields(rest)
        connection = fields.get(b"connection", b"").lower()
        self.is_reusable = b"close" not in connection and (version != b"HTTP/1.0" or b"keep-alive" in connection)
        self._chunked = b"chunked" in fields.get(b"transfer-encoding", b"").lower()
        if status in _WITHOUT_BODY:
            self._missing, self._chunked = 0, False
        elif not self._chunked:
            self._missing = _length(fields.get(b"content-length"))

    def _take(self, data: bytes) -> bool:
        if self._chunked:
            return self._take_chunks(data)
        self.body += data
        if self._missing is None or len(self.body) < self._missing:
            return False
        if len(self.body) > self._missing:
            # Nobody asked for more: whatever it is, it would be taken for the next request's answer.
            self.body, self.is_reusable = self.body[: self._missing], False
        return True

    def _take_chunks(self, data: bytes) -> bool:
        self._waiting += data
        while True:
            line, found, rest = self._waiting.partition(b"\r\n")
            if not found:
                return False
            try:
                size = int(line.partition(b";")[0], 16)
            except ValueError:
                raise NotHttp(f"a chunk begins with {line[:40]!r}") from None
            if size == 0:
                # Trailers end with a blank line; where there are none, that is all that is left.
                return rest.startswith(b"\r\n") or _BLANK_LINE in rest
            if len(rest) < size + 2:
                return False
            self.body += rest[:size]
            self._waiting = rest[size + 2 :]


def _fields(head: bytes) -> dict[bytes, bytes]:
    pairs = (line.partition(b":") for line in head.split(b"\r\n"))
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _length(stated: bytes | None) -> int | None:
    if stated is None:
        return None
    try:
        return int(stated)
    except ValueError:
        raise NotHttp(f"Content-Length is {stated[:40]!r}") from None
