"""Many rows in portions, each small enough for a transaction that nobody notices who waits for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

_MOST_ROWS: Final = 200
_MOST_BYTES: Final = 2 * 1024 * 1024
"""SQLite looks at every page of a large body before it is free again."""


def portions(
    sizes: Sequence[tuple[int, int]], *, most_rows: int = _MOST_ROWS, most_bytes: int = _MOST_BYTES
) -> Iterator[list[int]]:
    """The ids of (id, bytes of its body), in their order; one that is too large is alone."""
    portion: list[int] = []
    left = most_bytes
    for number, size in sizes:
        if portion and (len(portion) >= most_rows or size > left):
            yield portion
            portion, left = [], most_bytes
        portion.append(number)
        left -= size
    if portion:
        yield portion
