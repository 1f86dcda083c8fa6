"""Bytes to text, for files that rarely say how they are encoded."""

from __future__ import annotations

import codecs
import re
from typing import Final

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Python knows codecs that no document is written in, and that take their time (idna, punycode).
_DECLARABLE = re.compile(
    r"utf-?8|utf-?16(?:-?[lb]e)?|us-ascii|ascii|latin-?1|iso-?8859-\d{1,2}|(?:windows-|cp)\d{3,4}|koi8-[ru]|macintosh"
    r"|shift_jis|euc-(?:jp|kr)|gb2312|gbk|gb18030|big5"
)


def decoded(content: bytes, *, declared: str | None = None) -> str:
    """The text of a file: by its byte order mark, else as UTF-8, else as declared, else as Windows writes.

    No file is refused for its encoding: what nothing fits is read byte by byte.
    """
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content.removeprefix(codecs.BOM_UTF8).decode(encoding, "replace")
    for candidate in ("utf-8", _known(declared), "cp1252"):
        try:
            return content.decode(candidate)
        except (LookupError, UnicodeError):
            continue
    return content.decode("latin-1")


def whole(text: str) -> str:
    """The text without lone surrogates, which no encoding could write."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def unified(text: str) -> str:
    """The text with the line ends of Unix, and no space before them."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join(line.rstrip() for line in lines).strip("\n")


def _known(declared: str | None) -> str:
    name = (declared or "").strip().lower()
    return name if _DECLARABLE.fullmatch(name) else "utf-8"
