"""Downloads: to a file that is whole or not there, taken up again after a break, or into memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Generic, TypeVar
from urllib.parse import urljoin

from morag_client.api.keeping import Keeping
from morag_client.api.refusals import refused
from morag_client.api.releases import Release
from morag_client.api.requests import Exchange, Head, OnProgress, Request
from morag_client.errors import NotSupported, NotUnderstood, Unreachable

Result = TypeVar("Result")

_REFUSAL_BYTES: Final = 64 * 1024
_REDIRECTS: Final = {301, 302, 303, 307, 308}
_MOST_REDIRECTS: Final = 5
_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Moved:
    """The answer is elsewhere."""

    location: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Download(Generic[Result]):
    """A file of MoRAG's by the path that it has there, for the releases that have it."""

    name: str
    path: str
    releases: tuple[Release, ...]
    instead: str
    keeping: Callable[[], Keeping[Result]]
    on_progress: OnProgress | None = None
    max_bytes: int | None = None
    query: dict[str, str] = field(default_factory=dict)

    def course(self, release: Release) -> Generator[Exchange[Any], Any, Result]:
        """Fetches it, from where it redirects to, if that is the same server. Raises ApiError and OSError."""
        if release not in self.releases:
            raise NotSupported(f"{self.name} is not in MoRAG's release {release}; {self.instead}")
        request = Request(method="GET", path=self.path, query=self.query)
        keeping = self.keeping()
        try:
            for _ in range(_MOST_REDIRECTS):
                found = yield Fetching(request, keeping, on_progress=self.on_progress, max_bytes=self.max_bytes)
                if not isinstance(found, Moved):
                    result: Result = found
                    return result
                request = Request(method="GET", path=found.location)
        finally:
            keeping.discard()
        raise NotUnderstood(f"{self.name}: the server redirects again and again")


class Fetching(Generic[Result]):
    """The exchange of a download; what an attempt got is kept for the next one, as long as the file is the same."""

    blocks: ClassVar[bool] = True

    def __init__(
        self,
        asking: Request,
        keeping: Keeping[Result],
        *,
        on_progress: OnProgress | None,
        max_bytes: int | None,
    ) -> None:
        self.asking = asking
        self.keeping = keeping
        self.on_progress = on_progress
        self.max_bytes = max_bytes
        self.got = 0
        self.total: int | None = None
        self.validator: str | None = None

    def request(self) -> Request:
        """The whole file, or what is missing of it."""
        if not self.got:
            return self.asking
        headers = {"Range": f"bytes={self.got}-"}
        if self.validator is not None:
            headers["If-Range"] = self.validator
        return Request(method="GET", path=self.asking.path, query=self.asking.query, headers=headers)

    def receive(self, head: Head) -> _Writing[Result] | _Refusing | _Moving:
        """What writes the bytes. Raises ApiError where what comes is not what was asked for."""
        if head.status_code in _REDIRECTS and "location" in head.headers:
            return _Moving(Moved(urljoin(head.url, head.headers["location"])))
        if head.headers.get("content-encoding", "identity").lower() != "identity":
            raise NotUnderstood(f"the answer to {self.asking.asked} is encoded, and was not to be")
        if head.status_code == 206:  # noqa: PLR2004
            self._go_on(head)
        elif head.status_code == 200:  # noqa: PLR2004
            self._begin(head)
        elif head.status_code == 416 and self.got:  # noqa: PLR2004
            self._forget()
            raise Unreachable(f"the file of {self.asking.asked} has become another while it was fetched")
        else:
            return _Refusing(self.asking, head)
        self.check_bound(self.total or 0)
        return _Writing(self)

    def check_bound(self, size: int) -> None:
        """Raises NotUnderstood for more than is taken."""
        if self.max_bytes is not None and size > self.max_bytes:
            raise NotUnderstood(f"the file of {self.asking.asked} is larger than max_bytes={self.max_bytes}")

    def _begin(self, head: Head) -> None:
        self.got = 0
        length = head.headers.get("content-length", "")
        self.total = int(length) if length.isascii() and length.isdigit() and len(length) < 19 else None  # noqa: PLR2004
        etag = head.headers.get("etag", "")
        # A weak validator is not enough to go on by (RFC 9110, 13.1.5).
        self.validator = etag if etag and not etag.startswith("W/") else head.headers.get("last-modified")

    def _go_on(self, head: Head) -> None:
        """Raises Unreachable, so that all is fetched anew, where the part is not the one that is missing."""
        found = _RANGE.fullmatch(head.headers.get("content-range", ""))
        total = None if found is None or found[3] == "*" else int(found[3])
        is_next = found is not None and self.got > 0 and int(found[1]) == self.got
        is_same = total is None or self.total is None or total == self.total
        etag = head.headers.get("etag", self.validator)
        if self.validator is not None and self.validator.startswith('"'):
            is_same = is_same and etag == self.validator
        if not is_next or not is_same:
            self._forget()
            raise Unreachable(f"{self.asking.asked} gave another part than was asked for, or of another file")
        self.total = self.total or total

    def _forget(self) -> None:
        self.got, self.total, self.validator = 0, None, None


class _Writing(Generic[Result]):
    """Writes what comes behind what is there."""

    def __init__(self, fetching: Fetching[Result]) -> None:
        self._fetching = fetching
        self._file = fetching.keeping.open()
        self._file.seek(fetching.got)
        self._file.truncate()

    def take(self, piece: bytes) -> None:
        fetching = self._fetching
        if fetching.total is not None and fetching.got + len(piece) > fetching.total:
            raise NotUnderstood(f"more bytes came for {fetching.asking.asked} than were announced")
        fetching.check_bound(fetching.got + len(piece))
        self._file.write(piece)
        fetching.got += len(piece)

    def tell(self) -> None:
        fetching = self._fetching
        if fetching.on_progress is not None:
            fetching.on_progress(fetching.got, fetching.total or 0)

    def end(self) -> Result:
        fetching = self._fetching
        if fetching.total is not None and fetching.got < fetching.total:
            raise Unreachable(
                f"{fetching.asking.asked} ended after {fetching.got} of {fetching.total} bytes: fetch it again"
            )
        return fetching.keeping.finish(self._file)

    def close(self) -> None:
        self._file.close()


class _Refusing:
    """Collects what is said instead of a file."""

    def __init__(self, request: Request, head: Head) -> None:
        self._request = request
        self._head = head
        self._said = bytearray()

    def take(self, piece: bytes) -> None:
        self._said += piece[: _REFUSAL_BYTES - len(self._said)]

    def tell(self) -> None:
        """Nobody asks."""

    def end(self) -> Any:
        raise refused(self._request, self._head, bytes(self._said))

    def close(self) -> None:
        self._said.clear()


class _Moving:
    """Lets the body of a redirect go."""

    def __init__(self, moved: Moved) -> None:
        self._moved = moved

    def take(self, piece: bytes) -> None:
        del piece

    def tell(self) -> None:
        """Nobody asks."""

    def end(self) -> Any:
        return self._moved

    def close(self) -> None:
        """Nothing is open."""
