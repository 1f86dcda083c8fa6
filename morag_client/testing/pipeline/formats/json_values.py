"""JSON and JSON lines: headings, lists and tables that a reader can follow."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from morag_client.testing.pipeline.formats.converted import Allowance, Converted, Stated, Unreadable, too_large
from morag_client.testing.pipeline.formats.encoding import decoded
from morag_client.testing.pipeline.formats.markup import escaped, escaped_lines, flat, table

_DEEPEST_HEADING: Final = 6
_DEEPEST_LIST: Final = 8
_MOST_COLUMNS: Final = 30
_VALUES_BETWEEN_LOOKS: Final = 1000


def read_json(content: bytes, allowance: Allowance) -> Converted:
    """One value, or one on each line. Raises Unreadable for what is no JSON, and for too much of it."""
    text = decoded(content)
    # Each value but the first comes after one of these. Counted before parsing: a byte of JSON can become 64 in memory.
    if sum(map(text.count, ",[{\n")) > allowance.limits.values:
        raise too_large(f"it holds more than {allowance.limits.values:,} values")
    value = _parsed(text)
    _check_depth(value, allowance)
    markdown = "\n\n".join(block for block in _Writer(allowance).blocks(value, level=1) if block)
    return Converted(markdown, _stated(value))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise Unreadable("it nests too deeply") from None
    except ValueError as error:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) > 1:
            try:
                return [json.loads(line) for line in lines]
            except (ValueError, RecursionError):
                pass
        raise Unreadable(f"it is no JSON, nor JSON lines: {str(error)[:200]}") from None


def _check_depth(value: Any, allowance: Allowance) -> None:
    level: list[Any] = [value]
    for _ in range(allowance.limits.depth):
        level = [inner for outer in level for inner in _inner(outer)]
        if not level:
            return
    raise Unreadable(f"it nests deeper than {allowance.limits.depth} levels")


def _inner(value: Any) -> Iterator[Any]:
    within = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (inner for inner in within if isinstance(inner, dict | list))


def _stated(value: Any) -> Stated:
    if not isinstance(value, dict):
        return Stated()
    said = {key: text for key in ("title", "author", "date", "language") if isinstance(text := value.get(key), str)}
    return Stated(
        title=said.get("title"), author=said.get("author"), created=said.get("date"), language=said.get("language")
    )


class _Writer:
    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._written = 0

    def blocks(self, value: Any, level: int) -> Iterator[str]:
        """An object's scalars as a list, then each of its other values under a heading; an array as table or list."""
        if isinstance(value, dict):
            yield "\n".join(f"- **{_label(key)}:** {self._scalar(of)}" for key, of in value.items() if _simple(of))
            for key, of in value.items():
                if not _simple(of):
                    yield from self._under_heading(_label(key), of, level)
        elif isinstance(value, list):
            yield from self._array(value, level)
        else:
            yield escaped_lines(self._scalar(value))

    def _array(self, values: Sequence[Any], level: int) -> Iterator[str]:
        columns = _columns(values)
        if columns:
            rows = ([self._scalar(row[key]) if key in row else "" for key in columns] for row in values)
            yield table([[_label(key) for key in columns], *rows])
        elif all(map(_simple, values)):
            yield "\n".join(f"- {self._scalar(value)}" for value in values)
        else:
            for number, value in enumerate(values, start=1):
                if _simple(value):
                    yield f"- {self._scalar(value)}"
                else:
                    yield from self._under_heading(str(number), value, level)

    def _under_heading(self, label: str, value: Any, level: int) -> Iterator[str]:
        if level > _DEEPEST_HEADING:
            yield "\n".join(self._lines(f"**{label}:**", value, 0))
            return
        yield f"{'#' * level} {label}"
        yield from self.blocks(value, level + 1)

    def _lines(self, label: str, value: Any, depth: int) -> Iterator[str]:
        indent = "  " * min(depth, _DEEPEST_LIST)
        if _simple(value):
            yield f"{indent}- {label} {self._scalar(value)}"
            return
        yield f"{indent}- {label}"
        pairs = value.items() if isinstance(value, dict) else enumerate(value, start=1)
        for key, inner in pairs:
            yield from self._lines(f"**{_label(str(key))}:**", inner, depth + 1)

    def _scalar(self, value: Any) -> str:
        self._written += 1
        if self._written % _VALUES_BETWEEN_LOOKS == 0:
            self._allowance.check_time()
        if isinstance(value, str):
            return escaped(flat(value))
        return json.dumps(value)


def _simple(value: Any) -> bool:
    return not isinstance(value, dict | list) or not value


def _columns(values: Sequence[Any]) -> list[str]:
    """The keys of objects that make a table together: each flat, all of few keys."""
    columns: dict[str, None] = {}
    for value in values:
        if not isinstance(value, Mapping) or not all(map(_simple, value.values())):
            return []
        columns.update(dict.fromkeys(value))
        if len(columns) > _MOST_COLUMNS:
            return []
    return list(columns)


def _label(key: str) -> str:
    return escaped(flat(key)) or "(empty)"
