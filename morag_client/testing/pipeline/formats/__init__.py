"""From a file of any format to markdown, and what the file says of itself: `convert` is the way in."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from types import MappingProxyType
from typing import Final

from morag_client.testing.pipeline.document import Document, StepFailure
from morag_client.testing.pipeline.formats.converted import (
    Allowance,
    Converted,
    Limits,
    Stated,
    Unreadable,
    too_large,
)
from morag_client.testing.pipeline.formats.delimited import read_delimited
from morag_client.testing.pipeline.formats.encoding import whole
from morag_client.testing.pipeline.formats.json_values import read_json
from morag_client.testing.pipeline.formats.markup import flat
from morag_client.testing.pipeline.formats.pdf import read_pdf
from morag_client.testing.pipeline.formats.plain import read_text
from morag_client.testing.pipeline.formats.web_page import read_html
from morag_client.testing.pipeline.formats.word import read_docx

Reader = Callable[[bytes, Allowance], Converted]

_READERS: Final[Mapping[str, tuple[Reader, str]]] = MappingProxyType(
    {
        "md": (read_text, "text/markdown"),
        "markdown": (read_text, "text/markdown"),
        "txt": (read_text, "text/plain"),
        "html": (read_html, "text/html"),
        "htm": (read_html, "text/html"),
        "csv": (read_delimited, "text/csv"),
        "tsv": (read_delimited, "text/tab-separated-values"),
        "json": (read_json, "application/json"),
        "jsonl": (read_json, "application/jsonl"),
        "pdf": (read_pdf, "application/pdf"),
        "docx": (read_docx, "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    }
)
SUPPORTED_FORMATS: Final = tuple(_READERS)
"""The file name extensions of what can be converted."""

_PACKED: Final = frozenset({"pdf", "docx"})
_LONGEST_WORD_OF_ITSELF: Final = 300
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_LANGUAGE = re.compile(r"([A-Za-z]{2,3})(?:[-_].*)?", re.DOTALL)
_CHARACTERS_PER_PAGE: Final = 3000


def convert(
    document: Document, *, limits: Limits | None = None, clock: Callable[[], float] = time.monotonic
) -> Converted:
    """The document as markdown, ending with a line end, with the pages counted and what it says of itself tidied.

    Pure but for the clock (seconds from anywhere), which ends what takes too long. Raises StepFailure, with a message
    and an error code, for any document that cannot be converted.
    """
    if document.format not in _READERS:
        shown = f".{document.format[:40]}" if document.format else "without an extension"
        raise StepFailure(
            f"Unsupported file format: {shown} files cannot be converted to markdown",
            error_code="UNSUPPORTED_FORMAT",
            attempted_format=document.format[:40],
            supported_formats=list(SUPPORTED_FORMATS),
        )
    try:
        return _tidy(_read(document, Allowance(limits or Limits(), clock)))
    except Unreadable as error:
        raise StepFailure(
            f"{document.filename} cannot be converted to markdown: {error}",
            error_code=error.error_code,
            attempted_format=document.format,
        ) from error


def media_type(document: Document) -> str:
    """The document's media type, by its file name's extension, the same on every machine."""
    return _READERS[document.format][1] if document.format in _READERS else "application/octet-stream"


def page_count(markdown: str) -> int:
    """Pages as they would be printed, for what has none."""
    return max(1, -(-len(markdown) // _CHARACTERS_PER_PAGE))


def _read(document: Document, allowance: Allowance) -> Converted:
    if not document.content:
        raise Unreadable("it is empty (0 bytes)", error_code="EMPTY_DOCUMENT")
    if document.format not in _PACKED:
        allowance.check_text(len(document.content))
    reader, _ = _READERS[document.format]
    try:
        converted = reader(document.content, allowance)
    except Unreadable:
        raise
    except MemoryError:
        raise too_large("it takes more memory than there is") from None
    except RecursionError:
        raise Unreadable("it nests too deeply") from None
    except Exception as error:
        # Whatever is in the file, and whatever a package makes of it: it is the task that fails.
        raise Unreadable(f"it is damaged ({type(error).__name__}: {flat(str(error))[:200]})") from error
    allowance.check_text(len(converted.markdown))
    if not converted.markdown.strip():
        raise Unreadable("it holds no text", error_code="EMPTY_DOCUMENT")
    return converted


def _tidy(converted: Converted) -> Converted:
    markdown = whole(converted.markdown).strip("\n") + "\n"
    said = converted.stated
    pages = said.pages or page_count(markdown)
    stated = Stated(
        title=_line(said.title),
        author=_line(said.author),
        created=_day(said.created),
        modified=_day(said.modified),
        language=_language(said.language),
        pages=pages,
    )
    text = markdown if converted.text is None else converted.text
    return replace(converted, markdown=markdown, text=text, stated=stated)


def _line(text: str | None) -> str | None:
    """What a file says, as one line that can be shown; None where it says nothing."""
    return flat(_CONTROLS.sub(" ", whole(text or "")))[:_LONGEST_WORD_OF_ITSELF].rstrip() or None


def _day(text: str | None) -> str | None:
    """The date at the start of what a file says, as 2025-11-03; None where there is none in the calendar."""
    found = _DATE.match((text or "").strip())
    if not found:
        return None
    try:
        return date.fromisoformat(found[0]).isoformat()
    except ValueError:
        return None


def _language(text: str | None) -> str | None:
    found = _LANGUAGE.fullmatch((text or "").strip())
    return found[1].lower() if found else None
