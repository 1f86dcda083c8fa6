"""Text and markdown: what they are is what they say, but for the front matter."""

from __future__ import annotations

import re

from morag_client.testing.pipeline.formats.converted import Allowance, Converted, Stated
from morag_client.testing.pipeline.formats.encoding import decoded, unified

_FRONT_MATTER = re.compile(r"---\n(.*?)\n(?:---|\.\.\.)(?:\n|\Z)", re.DOTALL)
_FIELD = re.compile(r"([A-Za-z][\w-]*):[ \t]*(\S.*)")


def read_text(content: bytes, _allowance: Allowance) -> Converted:
    """The text as it stands; pages by its form feeds."""
    markdown = unified(decoded(content))
    said, text = front_matter(f"{markdown}\n")
    pages = text.strip("\f\n").count("\f") + 1 if "\f" in text else None
    stated = Stated(
        title=said.get("title"),
        author=said.get("author"),
        created=said.get("date") or said.get("created"),
        modified=said.get("modified") or said.get("updated"),
        language=said.get("language") or said.get("lang"),
        pages=pages,
    )
    return Converted(markdown, stated, text)


def front_matter(markdown: str) -> tuple[dict[str, str], str]:
    """The `key: value` lines between the two `---` at the start of a document, and the text after them."""
    found = _FRONT_MATTER.match(markdown)
    if found is None:
        return {}, markdown
    pairs = [_FIELD.fullmatch(line) for line in found[1].split("\n")]
    return {pair[1].lower(): pair[2].strip("\"'") for pair in pairs if pair}, markdown[found.end() :]
