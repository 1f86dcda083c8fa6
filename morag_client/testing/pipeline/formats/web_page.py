"""HTML as markdown: headings, lists, links, tables, quotations and code; no scripts, no styles."""

from __future__ import annotations

import re
from typing import Final

from morag_client.testing.pipeline.formats.blocks import Blocks, Kind
from morag_client.testing.pipeline.formats.converted import Allowance, Converted, Stated
from morag_client.testing.pipeline.formats.encoding import decoded
from morag_client.testing.pipeline.formats.inline import CODE, LINK, Inline, code_fence, image
from morag_client.testing.pipeline.formats.markup import escaped_lines, flat, table
from morag_client.testing.pipeline.formats.tags import tokens

_CHARSET = re.compile(rb"""(?:charset|encoding)\s{0,9}=\s{0,9}["']?([\w-]{1,40})""", re.IGNORECASE)
_LANGUAGE_CLASS = re.compile(r"(?:^|\s)(?:language|lang|highlight-source)-([\w+#-]{1,40})")
_WHERE_CHARSETS_STAND: Final = 2048
_TOKENS_BETWEEN_LOOKS: Final = 200
_MOST_COLUMNS_SPANNED: Final = 20

_SKIPPED: Final = frozenset(
    "script style template noscript noframes noembed svg math iframe object canvas audio video select textarea".split()
)
_MARKS: Final = {
    **dict.fromkeys(("strong", "b"), "**"),
    **dict.fromkeys(("em", "i", "cite", "dfn", "var"), "*"),
    **dict.fromkeys(("code", "kbd", "samp", "tt"), CODE),
    **dict.fromkeys(("del", "s", "strike"), "~~"),
}
_HEADINGS: Final = {f"h{level}": level for level in range(1, 7)}
_CONTAINERS: Final[dict[str, Kind]] = {"ul": "list", "ol": "list", "li": "item", "blockquote": "quotation"}
_BLOCKS: Final = frozenset(
    {
        *"address article aside body caption center dd details dialog dir div dl dt fieldset figcaption figure".split(),
        *"footer form head header hgroup hr html legend main menu nav p pre section summary tbody tfoot thead".split(),
        *_HEADINGS,
        *_CONTAINERS,
    }
)
_META: Final = {
    **dict.fromkeys(("author", "dc.creator", "dcterms.creator"), "author"),
    **dict.fromkeys(("date", "dc.date", "dcterms.created", "article:published_time"), "created"),
    **dict.fromkeys(("dcterms.modified", "last-modified", "article:modified_time"), "modified"),
}


def read_html(content: bytes, allowance: Allowance) -> Converted:
    """A web page. What is no HTML at all comes out as the text that it is."""
    found = _CHARSET.search(content[:_WHERE_CHARSETS_STAND])
    return convert_html(decoded(content, declared=found and found[1].decode("ascii", "replace")), allowance)


def convert_html(html: str, allowance: Allowance) -> Converted:
    """The same for a text."""
    reader = _Reader()
    for number, token in enumerate(tokens(html)):
        if number % _TOKENS_BETWEEN_LOOKS == 0:
            allowance.check_time()
            allowance.check_text(reader.size)
        if token.kind == "text":
            reader.text(token.text)
        elif token.kind == "end":
            reader.end(token.name)
        else:
            reader.start(token.name, token.attributes)
            if token.closes_itself and token.name in _SKIPPED:
                reader.end(token.name)
    return reader.converted()


class _Reader:
    """Writes while it reads, with no tree in between: nothing is recursive, and memory is that of the text."""

    def __init__(self) -> None:
        self._blocks = Blocks()
        self._inline = Inline()
        self._skipped = ""
        self._skips = 0
        self._heading = 0
        self._code: list[str] | None = None
        self._code_language = ""
        self._table_depth = 0
        self._rows: list[list[str]] = []
        self._in_cell = False
        self._columns = 1
        self._title: list[str] | None = None
        self._said: dict[str, str] = {}

    def converted(self) -> Converted:
        """What was read so far."""
        self._end_table()
        self._end_code()
        self._end_block()
        stated = Stated(
            title=self._said.get("title"),
            author=self._said.get("author"),
            created=self._said.get("created"),
            modified=self._said.get("modified"),
            language=self._said.get("language"),
        )
        return Converted(str(self._blocks), stated)

    @property
    def size(self) -> int:
        """Characters written so far."""
        return self._blocks.size

    def start(self, tag: str, given: dict[str, str]) -> None:
        """A start tag and its attributes."""
        if not self._skips and tag in _SKIPPED:
            self._skipped = tag
        if self._skipped:
            self._skips += tag == self._skipped
            return
        if self._code is not None:
            self._code_language = self._code_language or _language(given)
        elif tag in _MARKS:
            self._inline.begin(_MARKS[tag])
        elif tag == "a":
            self._inline.begin(LINK, address=given.get("href", ""))
        elif tag == "br":
            self._inline.line_break()
        elif tag == "img":
            self._inline.markdown(image(given.get("alt", ""), given.get("src", "")))
        elif tag in {"table", "tr", "td", "th"}:
            self._start_in_table(tag, given)
        elif tag == "title" and "title" not in self._said:
            self._title = []
        else:
            self._note(tag, given)
            self._start_block(tag, given)

    def end(self, tag: str) -> None:
        """An end tag."""
        if self._skipped:
            self._skips -= tag == self._skipped
            self._skipped = self._skipped if self._skips else ""
        elif tag == "pre":
            self._end_code()
        elif self._code is not None:
            return
        elif tag in _MARKS:
            self._inline.end(_MARKS[tag])
        elif tag == "a":
            self._inline.end(LINK)
        elif tag in {"table", "tr", "td", "th"}:
            self._end_in_table(tag)
        elif tag == "title":
            self._end_title()
        else:
            self._finish_block(tag)

    def text(self, data: str) -> None:
        """Text, also that of what is not shown."""
        if self._skipped:
            return
        if self._title is not None:
            self._title.append(data)
        elif self._code is not None:
            self._code.append(data)
        else:
            self._inline.text(data)

    def _note(self, tag: str, given: dict[str, str]) -> None:
        if tag == "html" and given.get("lang"):
            self._said.setdefault("language", given["lang"])
        elif tag == "meta":
            name = _META.get((given.get("name") or given.get("property") or "").lower())
            if name and given.get("content"):
                self._said.setdefault(name, given["content"])

    def _end_title(self) -> None:
        if self._title is not None:
            self._said["title"] = flat("".join(self._title))
            self._title = None

    def _start_block(self, tag: str, given: dict[str, str]) -> None:
        if tag not in _BLOCKS:
            return
        if self._in_cell:
            self._inline.line_break()
            return
        self._end_block()
        if tag in _HEADINGS:
            self._heading = _HEADINGS[tag]
        elif tag == "hr":
            self._blocks.add("* * *")
        elif tag == "pre":
            self._code, self._code_language = [], _language(given)
        elif tag == "ul":
            self._blocks.start_list()
        elif tag == "ol":
            start = given.get("start", "")
            self._blocks.start_list(number=int(start) if re.fullmatch(r"[0-9]{1,6}", start) else 1)
        elif tag == "li":
            self._blocks.start_item()
        elif tag == "blockquote":
            self._blocks.start_quotation()

    def _finish_block(self, tag: str) -> None:
        if tag not in _BLOCKS:
            return
        if self._in_cell:
            self._inline.line_break()
            return
        self._end_block()
        if tag in _CONTAINERS:
            self._blocks.end(_CONTAINERS[tag])

    def _end_block(self) -> None:
        heading, self._heading = self._heading, 0
        if heading:
            text = self._inline.take(line_break=" ")
            self._blocks.add(f"{'#' * heading} {text}" if text else "")
        else:
            self._blocks.add(escaped_lines(self._inline.take()))

    def _end_code(self) -> None:
        if self._code is None:
            return
        text = "".join(self._code).replace("\r\n", "\n").strip("\n").rstrip()
        fence = max("```", code_fence(text), key=len)
        self._blocks.add(f"{fence}{self._code_language}\n{text}\n{fence}" if text else "")
        self._code = None

    def _start_in_table(self, tag: str, given: dict[str, str]) -> None:
        if tag == "table":
            if not self._table_depth:
                self._end_block()
            self._table_depth += 1
        elif self._table_depth == 1:
            self._end_cell()
            if tag == "tr" or not self._rows:
                self._end_block()
                self._rows.append([])
            if tag != "tr":
                self._in_cell = True
                span = given.get("colspan", "")
                self._columns = min(int(span), _MOST_COLUMNS_SPANNED) if re.fullmatch(r"[0-9]{1,6}", span) else 1
        else:
            self._inline.line_break()

    def _end_in_table(self, tag: str) -> None:
        if self._table_depth > 1:
            self._inline.line_break()
            self._table_depth -= tag == "table"
        elif tag == "table":
            self._end_table()
        else:
            self._end_cell()

    def _end_cell(self) -> None:
        if self._in_cell:
            self._in_cell = False
            self._rows[-1] += [self._inline.take(line_break=" "), *[""] * (self._columns - 1)]

    def _end_table(self) -> None:
        self._end_cell()
        self._end_block()
        rows = [row for row in self._rows if any(row)]
        self._rows, self._table_depth = [], 0
        if max(map(len, rows), default=0) == 1:  # a frame around something
            for row in rows:
                self._blocks.add(escaped_lines(row[0]))
        else:
            self._blocks.add(table(rows))


def _language(given: dict[str, str]) -> str:
    found = _LANGUAGE_CLASS.search(given.get("class", ""))
    return found[1] if found else ""
