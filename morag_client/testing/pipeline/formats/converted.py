"""What a format's reader makes of a file, what it may use up on the way, and how it says that it cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """What a file says of itself; dates as it writes them, None where it says nothing."""

    title: str | None = None
    author: str | None = None
    created: str | None = None
    modified: str | None = None
    language: str | None = None
    pages: int | None = None


@dataclass(frozen=True, slots=True)
class Converted:
    """A file as markdown; `text` is that without the front matter, None where it has none."""

    markdown: str
    stated: Stated = field(default_factory=Stated)
    text: str | None = None


class Unreadable(Exception):
    """A file cannot be converted; the message ends the sentence "… cannot be converted to markdown: "."""

    def __init__(self, reason: str, *, error_code: str = "CORRUPT_DOCUMENT") -> None:
        super().__init__(reason)
        self.error_code = error_code


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one file may use up: a hostile one ends at them as a failed task.

    `text_bytes` bounds a file of text as well as the markdown of any file, `expanded_bytes` what its compressed parts
    become together, `elements` the XML elements and attributes of a Word document, `values` those of a JSON file,
    `depth` how deep either may nest.
    """

    text_bytes: int = 10 * _MIB
    expanded_bytes: int = 32 * _MIB
    pages: int = 2_000
    elements: int = 300_000
    values: int = 1_000_000
    depth: int = 100
    seconds: float = 30.0


class Allowance:
    """The limits of one conversion, and how much of them is left. Whoever overdraws it gets Unreadable."""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self.limits = limits
        self._clock = clock
        self._ends_at = clock() + limits.seconds
        self._left = limits.expanded_bytes

    @property
    def left(self) -> int:
        """Bytes that may still be expanded."""
        return self._left

    def check_time(self) -> None:
        """To be called often: nothing else can end a conversion that takes too long."""
        if self._clock() > self._ends_at:
            raise Unreadable(
                f"it takes longer than {self.limits.seconds:g} s; it may be damaged", error_code="CONVERSION_TIMEOUT"
            )

    def spend(self, expanded: int) -> None:
        """Accounts for bytes that came out of a compressed part."""
        self._left -= expanded
        if self._left < 0:
            raise too_large(f"it expands to more than {_mib(self.limits.expanded_bytes)}")

    def check_text(self, size: int) -> None:
        """For the size of a text: a file's in bytes, or the markdown's in characters."""
        if size > self.limits.text_bytes:
            raise too_large(f"its text is larger than {_mib(self.limits.text_bytes)}")


def too_large(reason: str) -> Unreadable:
    """What is raised for a file beyond a limit."""
    return Unreadable(f"{reason}; submit it in parts", error_code="DOCUMENT_TOO_LARGE")


def _mib(size: int) -> str:
    return f"{size / _MIB:g} MiB"
