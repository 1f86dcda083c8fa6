"""HTML taken apart into tags and texts, once from its start to its end, however broken it is."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

_OPENING = re.compile(r"<(?=[A-Za-z/!?])")
_TAG_NAME = re.compile(r"[A-Za-z][^\s/>]*")
_ATTRIBUTE = re.compile(r"""[\s/]*([^\s/>=][^\s/>=]*)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>]*)))?""")
_TAG_END = re.compile(r"[\s/=]*>")
_MOST_ATTRIBUTES: Final = 50
_LONGEST_NAME: Final = 40
_RAW: Final = {
    name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE)
    for name in ("script", "style", "title", "textarea", "iframe", "noembed", "noframes", "xmp")
}
"""Elements in which nothing is a tag but their own end."""


@dataclass(frozen=True, slots=True)
class Token:
    """A start tag, an end tag, or text; `name` is a tag's name in lower case, `text` has no references any more."""

    kind: Literal["start", "end", "text"]
    name: str = ""
    text: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    closes_itself: bool = False


def tokens(source: str) -> Iterator[Token]:
    """What a browser would see; comments and declarations are left out.

    No part of the source is looked at more than a few times: the standard library's parser takes the square of the
    time for some broken pages, depending on its version, and reads some of them differently in each.
    """
    place = 0
    while place < len(source):
        found = _OPENING.search(source, place)
        opening = found.start() if found else len(source)
        if opening > place:
            yield _text(source[place:opening])
        if not found:
            return
        token, place = _markup(source, opening)
        if token is not None:
            yield token
            if token.kind == "start" and token.name in _RAW and not token.closes_itself:
                end = _RAW[token.name].search(source, place)
                inside = source[place : end.start() if end else len(source)]
                place += len(inside)
                if inside:
                    yield Token("text", text=inside) if token.name in {"script", "style"} else _text(inside)


def _markup(source: str, place: int) -> tuple[Token | None, int]:
    """The token at a `<`, None for a comment, and where the rest begins. What has no end goes to the end."""
    if source.startswith("<!--", place):
        return None, _after(source, "-->", place + 2 if source.startswith("<!-->", place) else place + 4)
    closes = source.startswith("</", place)
    name = _TAG_NAME.match(source, place + 1 + closes)
    if name is None:
        return None, _after(source, ">", place + 2)
    label = name[0][:_LONGEST_NAME].lower()
    if closes:
        return Token("end", label), _after(source, ">", name.end())
    return _start_tag(source, label, name.end())


def _start_tag(source: str, name: str, place: int) -> tuple[Token | None, int]:
    attributes: dict[str, str] = {}
    while not (end := _TAG_END.match(source, place)):
        found = _ATTRIBUTE.match(source, place)
        if found is None or found.end() == place:
            # A `=` where a name should be is passed over; at the end of the source there is no tag.
            place = _past(source, place)
            if place >= len(source):
                return None, place
            continue
        place = found.end()
        if len(attributes) < _MOST_ATTRIBUTES:
            value = next((group for group in found.groups()[1:] if group is not None), "")
            attributes.setdefault(found[1][:_LONGEST_NAME].lower(), _unescaped(value))
    return Token("start", name, attributes=attributes, closes_itself="/" in end[0]), end.end()


_BETWEEN_ATTRIBUTES = re.compile(r"[\s/=]*")


def _past(source: str, place: int) -> int:
    passed = _BETWEEN_ATTRIBUTES.match(source, place)
    return passed.end() if passed else place


def _after(source: str, end: str, place: int) -> int:
    found = source.find(end, place)
    return len(source) if found < 0 else found + len(end)


def _text(source: str) -> Token:
    return Token("text", text=_unescaped(source))


def _unescaped(text: str) -> str:
    try:
        return html.unescape(text)
    except ValueError:  # a reference by a number of thousands of digits
        return text
