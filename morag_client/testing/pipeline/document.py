"""What was submitted, and what it is as markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Final

TEXT_FORMATS: Final = ("md", "markdown", "txt")
"""The file name extensions of what can be read."""

_CHARACTERS_PER_PAGE: Final = 3000
_FRONT_MATTER = re.compile(r"---\n(.*?)\n(?:---|\.\.\.)(?:\n|\Z)", re.DOTALL)
_FIELD = re.compile(r"([A-Za-z][\w-]*):[ \t]*(\S.*)")


@dataclass(frozen=True, slots=True)
class Document:
    """A file as it was submitted, with what the application said about it."""

    filename: str
    content: bytes = field(repr=False)
    source_type: str = "document"
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def format(self) -> str:
        """The file name's extension in lower case, "" without one."""
        return PurePath(self.filename).suffix.removeprefix(".").lower()

    @property
    def document_id(self) -> str | None:
        """The application's own id for it, from the metadata."""
        stated = self.metadata.get("document_id")
        return None if stated is None else str(stated)


class StepFailure(Exception):
    """A step cannot do its work on this document; `details` is what its webhook's data says."""

    def __init__(self, message: str, *, error_code: str, **details: object) -> None:
        super().__init__(message)
        self.details: dict[str, object] = {"error_code": error_code, **details}


def to_markdown(document: Document) -> str:
    """The document as markdown. Raises StepFailure for another format than text, and for a document without any."""
    if document.format not in TEXT_FORMATS:
        shown = f".{document.format}" if document.format else "without an extension"
        raise StepFailure(
            f"Unsupported file format: {shown} files cannot be converted to markdown",
            error_code="UNSUPPORTED_FORMAT",
            attempted_format=document.format,
            supported_formats=list(TEXT_FORMATS),
        )
    text = _decoded(document.content).replace("\r\n", "\n").replace("\r", "\n")
    lines = [line.rstrip() for line in text.split("\n")]
    markdown = "\n".join(lines).strip("\n")
    if not markdown:
        raise StepFailure(f"{document.filename} holds no text", error_code="EMPTY_DOCUMENT")
    return f"{markdown}\n"


def front_matter(markdown: str) -> tuple[dict[str, str], str]:
    """The `key: value` lines between the two `---` at the start of a document, and the text after them."""
    found = _FRONT_MATTER.match(markdown)
    if found is None:
        return {}, markdown
    pairs = [_FIELD.fullmatch(line) for line in found[1].split("\n")]
    return {pair[1].lower(): pair[2].strip("\"'") for pair in pairs if pair}, markdown[found.end() :]


def page_count(markdown: str) -> int:
    """Pages as the file says by form feeds, else as they would be printed."""
    if "\f" in markdown:
        return markdown.strip("\f\n").count("\f") + 1
    return max(1, -(-len(markdown) // _CHARACTERS_PER_PAGE))


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        # Every byte means something in Latin-1, so that no text file is refused for its encoding.
        return content.decode("latin-1")
