"""Comma-separated values, and those with other delimiters, as a table."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from morag_client.testing.pipeline.formats.converted import Allowance, Converted, Unreadable
from morag_client.testing.pipeline.formats.encoding import decoded
from morag_client.testing.pipeline.formats.markup import escaped, table

if TYPE_CHECKING:
    import _csv

_DELIMITERS: Final = (",", ";", "\t", "|")
_SAMPLE_CHARACTERS: Final = 64 * 1024
_ROWS_BETWEEN_LOOKS: Final = 1000


def read_delimited(content: bytes, allowance: Allowance) -> Converted:
    """One table, its first row the head. Raises Unreadable for what has no end of a quoted cell."""
    text = decoded(content)
    stated, text = _stated_delimiter(text)
    rows = _rows(text, stated or delimiter_of(text), allowance)
    return Converted(table([[escaped(cell) for cell in row] for row in rows]))


def delimiter_of(text: str) -> str:
    """What separates the cells: of the usual delimiters the one by which most rows have the same number of them."""
    sample = text[:_SAMPLE_CHARACTERS]
    if len(text) > len(sample):
        sample = sample.rpartition("\n")[0] or sample
    return max(_DELIMITERS, key=lambda delimiter: _evenness(sample, delimiter))


def _evenness(sample: str, delimiter: str) -> tuple[float, int]:
    try:
        widths = Counter(len(row) for row in _reader(sample, delimiter) if row)
    except csv.Error:
        return 0.0, 0
    width, rows = max(widths.items(), key=lambda item: (item[1], item[0]), default=(0, 0))
    return (rows / widths.total(), width) if width > 1 else (0.0, 0)


def _rows(text: str, delimiter: str, allowance: Allowance) -> Sequence[Sequence[str]]:
    rows = []
    reader = _reader(text, delimiter)
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append(row)
            if reader.line_num % _ROWS_BETWEEN_LOOKS == 0:
                allowance.check_time()
    except csv.Error as error:
        # The module's own limit, 131,072 characters, is for the whole process and not ours to change.
        raise Unreadable(f"line {reader.line_num}: {error}; is a quotation mark missing before it?") from error
    return rows


def _reader(text: str, delimiter: str) -> _csv.Reader:
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)


def _stated_delimiter(text: str) -> tuple[str | None, str]:
    """Excel's first line `sep=;`, where there is one, and what comes after it."""
    first, _, rest = text.partition("\n")
    stated = first.rstrip("\r")
    if len(stated) == len("sep=;") and stated.lower().startswith("sep=") and stated[-1] not in '\r\n"':
        return stated[-1], rest
    return None, text
