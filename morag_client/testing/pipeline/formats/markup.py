"""Writing markdown: text that must not be read as marks, and tables."""

from __future__ import annotations

import re
from collections.abc import Sequence

_INLINE = re.compile(r"[\\*`]|<(?=[A-Za-z/!?])|\](?=[(\[:])")
_BLOCK = re.compile(
    r"^(?=#{1,6}(?:[ \t]|$)|[-+](?:[ \t]|$)|>|---|===|~~~|\|)|^(\d{1,9})(?=[.)](?:[ \t]|$))", re.MULTILINE
)


def escaped(text: str) -> str:
    """The text with a backslash before what would be a mark within a line."""
    return _INLINE.sub(r"\\\g<0>", text)


def escaped_lines(text: str) -> str:
    """The same for what would be a mark at the start of a line."""
    return _BLOCK.sub(r"\1\\", text)


def flat(text: str) -> str:
    """The text in one line, each stretch of space as one blank."""
    return " ".join(text.split())


def table(rows: Sequence[Sequence[str]]) -> str:
    """A table with the first row as its head; cells hold markdown already. "" without any cell.

    Only the head is made as wide as the widest row: readers fill up the others, and a file with a single wide row
    among many short ones would grow to the square of its size.
    """
    width = max(map(len, rows), default=0)
    if not width:
        return ""
    head = [*rows[0], *[""] * (width - len(rows[0]))]
    return "\n".join([_row(head), _row(["---"] * width), *map(_row, rows[1:])])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(flat(cell).replace('|', chr(92) + '|') for cell in cells)} |"
