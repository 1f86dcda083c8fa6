"""What is sent to MoRAG, and how what comes back is taken in: values, and no network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

Result_co = TypeVar("Result_co", covariant=True)
OnProgress = Callable[[int, int], object]
"""Is told how many bytes are through, and of how many."""

_IDEMPOTENT: Final = {"GET", "HEAD", "DELETE"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A file to be sent as the form's `file`, streamed from disk; `on_progress` hears of its own bytes."""

    path: Path
    on_progress: OnProgress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request; `path` is encoded and lies under the base URL.

    Its body is `json`, or a form of `fields` and `upload`. `timeout_seconds` takes the place of the client's.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Mapping[str, Any] | None = field(default=None, repr=False)
    fields: Mapping[str, str] | None = field(default=None, repr=False)
    upload: Upload | None = None
    timeout_seconds: float | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """What is in it that no error may repeat."""

    @property
    def is_idempotent(self) -> bool:
        """Whether it may be sent a second time without another effect."""
        return self.method in _IDEMPOTENT

    @property
    def asked(self) -> str:
        """What it asks for, in a sentence."""
        return f"{self.method} {self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The beginning of an answer; the names of headers are in lower case, `url` is where it comes from."""

    url: str
    status_code: int
    headers: Mapping[str, str]


class Intake(Protocol[Result_co]):
    """What takes an answer in, piece by piece."""

    def take(self, piece: bytes) -> None:
        """The next bytes of the body."""

    def tell(self) -> None:
        """Says how far it is, to whoever asked; called after each piece, never in a thread of its own."""

    def end(self) -> Result_co:
        """The body is through. Raises ApiError for what it turns out to be."""

    def close(self) -> None:
        """Nothing more will come, whether or not `end` was reached."""


class Exchange(Protocol[Result_co]):
    """A request and the reading of its answer, which can be tried more than once."""

    @property
    def blocks(self) -> bool:
        """Whether taking the answer in waits for a disk."""

    def request(self) -> Request:
        """What to send, asked anew for each attempt."""

    def receive(self, head: Head) -> Intake[Result_co]:
        """What takes the body in. Raises ApiError where there is nothing to take in."""
