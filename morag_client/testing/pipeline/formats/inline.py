"""The text of one block in the making, with its emphasis, code and links."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from morag_client.testing.pipeline.formats.markup import escaped, flat

CODE: Final = "`"
LINK: Final = "["
_BREAK: Final = "\x00"
_SPACE = re.compile(r"\s+")
_BACKTICKS = re.compile(r"`+")
_ADDRESS = re.compile(r"(?:https?://|mailto:|tel:|[#/.?]|[\w-]+(?:[/.?#]|$))", re.IGNORECASE)


@dataclass(slots=True)
class _Span:
    mark: str
    address: str = ""
    pieces: list[str] = field(default_factory=list)


class Inline:
    """Takes text and marks in order. A mark that is open already is not opened again, so nothing nests deeply."""

    def __init__(self) -> None:
        self._spans = [_Span("")]

    def text(self, text: str) -> None:
        """Running text, whatever its line breaks."""
        clean = text.replace(_BREAK, "")
        self._add(clean if self._is_open(CODE) else escaped(clean))

    def markdown(self, markdown: str) -> None:
        """What is markdown already."""
        self._add(markdown)

    def line_break(self) -> None:
        """A line ends here."""
        self._add(_BREAK)

    def begin(self, mark: str, *, address: str = "") -> None:
        """Emphasis by its marks (`**`), CODE, or a LINK to an address."""
        if not self._is_open(mark) and not self._is_open(CODE):
            self._spans.append(_Span(mark, address))

    def end(self, mark: str) -> None:
        """Ends what was begun, with what is still open in it. Nothing where it was not."""
        if not self._is_open(mark):
            return
        ended = ""
        while ended != mark:
            span = self._spans.pop()
            ended = span.mark
            self._add(_marked(span))

    def take(self, *, line_break: str = "  \n") -> str:
        """The block's text so far, all marks ended; it begins anew."""
        while len(self._spans) > 1:
            self.end(self._spans[-1].mark)
        lines = [flat(line) for line in "".join(self._spans[0].pieces).split(_BREAK)]
        self._spans = [_Span("")]
        return line_break.join(lines).strip() if any(lines) else ""

    def _add(self, piece: str) -> None:
        self._spans[-1].pieces.append(piece)

    def _is_open(self, mark: str) -> bool:
        return any(span.mark == mark for span in self._spans)


def image(alternative: str, address: str) -> str:
    """An image as markdown: only its words where it has no address that means something elsewhere."""
    target = _target(address)
    words = escaped(flat(alternative))
    return f"![{words}]({target})" if target else words


def code_fence(text: str) -> str:
    """More backticks than the text has in a row."""
    return "`" * (max((len(run) for run in _BACKTICKS.findall(text)), default=0) + 1)


def _marked(span: _Span) -> str:
    inner = "".join(span.pieces)
    bare = inner.strip()
    if not bare.strip(_BREAK + " \n\t"):
        return inner
    before = " " if inner[0].isspace() else ""
    after = " " if inner[-1].isspace() else ""
    return f"{before}{_spanned(span, bare)}{after}"


def _spanned(span: _Span, text: str) -> str:
    if span.mark == CODE:
        fence = code_fence(text)
        space = " " if len(fence) > 1 else ""
        return f"{fence}{space}{text}{space}{fence}"
    if span.mark != LINK:
        return f"{span.mark}{text}{span.mark}"
    target = _target(span.address)
    return f"[{text}]({target})" if target else text


def _target(address: str) -> str:
    """An address that can stand in a link: no scripts, and no data."""
    bare = _SPACE.sub("%20", address.strip())
    if not _ADDRESS.match(bare):
        return ""
    return bare.replace("(", "%28").replace(")", "%29").replace("<", "%3C").replace(">", "%3E").replace(_BREAK, "")
