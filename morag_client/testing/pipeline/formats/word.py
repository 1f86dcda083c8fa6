"""Word documents (.docx): checked part by part, then read by mammoth."""

from __future__ import annotations

import io
import zipfile
import zlib
from typing import Final
from xml.etree import ElementTree as ET  # only of parts without declarations, see _check_xml
from xml.parsers import expat

from morag_client.testing.pipeline.formats.converted import Allowance, Converted, Stated, Unreadable, too_large
from morag_client.testing.pipeline.formats.packages import required
from morag_client.testing.pipeline.formats.web_page import convert_html

_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_MOST_PARTS: Final = 5_000
_ENCRYPTED: Final = 0x1
_KINDS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_READ: Final = (".xml", ".rels")
_NOT_READ: Final = ("customxml/", "word/theme/", "docprops/thumbnail")
_STYLES: Final = (
    "p[style-name='Title'] => h1:fresh\np[style-name='Subtitle'] => p:fresh\np[style-name='Quote'] => blockquote:fresh"
)


def read_docx(content: bytes, allowance: Allowance) -> Converted:
    """A Word document; what is in it besides text (pictures, embedded files) is not even unpacked."""
    mammoth = required("mammoth")
    parts = _parts(content, allowance)
    if not any(name.lower().endswith(".rels") or name == "word/document.xml" for name in parts):
        raise Unreadable("it is a ZIP archive, but no Word document")
    _check_xml(parts, allowance)
    read = mammoth.convert_to_html(
        _packed(parts),
        style_map=_STYLES,
        include_embedded_style_map=False,
        external_file_access=False,
        convert_image=lambda _image: [],
    )
    html: str = read.value
    allowance.check_time()
    allowance.check_text(len(html) // 4)  # tags and character references make up for most of it at worst
    return Converted(convert_html(html, allowance).markdown, _stated(parts))


def _parts(content: bytes, allowance: Allowance) -> dict[str, bytes]:
    """The parts that are read, by name. Raises Unreadable for archives that no word processor writes."""
    if content.startswith(_OLE):
        raise Unreadable(
            "it is encrypted, or of Word's old format; save it as .docx without a password",
            error_code="ENCRYPTED_DOCUMENT",
        )
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            if len(entries) > _MOST_PARTS:
                raise too_large(f"it has more than {_MOST_PARTS:,} parts")
            wanted = [entry for entry in entries if _is_read(entry.filename)]
            if sum(entry.file_size for entry in wanted) > allowance.left:
                allowance.spend(allowance.left + 1)
            return {entry.filename: _part(archive, entry, allowance) for entry in wanted}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError) as error:
        raise Unreadable(f"it is no Word document, or damaged ({error})") from error


def _is_read(name: str) -> bool:
    lowered = name.lower()
    return lowered.endswith(_READ) and not lowered.startswith(_NOT_READ)


def _part(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, allowance: Allowance) -> bytes:
    if entry.flag_bits & _ENCRYPTED:
        raise Unreadable("it is encrypted with a password", error_code="ENCRYPTED_DOCUMENT")
    if entry.compress_type not in _KINDS:
        raise Unreadable("it is compressed as no word processor does")
    allowance.check_time()
    with archive.open(entry) as part:
        content = part.read(allowance.left + 1)
    allowance.spend(len(content))
    return content


def _check_xml(parts: dict[str, bytes], allowance: Allowance) -> None:
    """Counts elements before anything makes objects of them, and refuses declarations: no entities to expand."""
    counting = _Counting(allowance)
    for name, content in parts.items():
        parser = expat.ParserCreate()
        parser.ordered_attributes = True
        parser.StartElementHandler = counting.start
        parser.EndElementHandler = counting.end
        parser.StartDoctypeDeclHandler = counting.declare
        try:
            parser.Parse(content, True)  # noqa: FBT003  # the C function takes no keywords
        except expat.ExpatError as error:
            raise Unreadable(f"its part {name[:100]!r} is no XML ({error})") from error


class _Counting:
    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._elements = 0
        self._depth = 0

    def start(self, _name: str, attributes: list[str]) -> None:
        self._elements += 1 + len(attributes) // 2
        self._depth += 1
        if self._elements > self._allowance.limits.elements:
            raise too_large(f"it has more than {self._allowance.limits.elements:,} elements and attributes")
        if self._depth > self._allowance.limits.depth:
            raise Unreadable(f"it nests deeper than {self._allowance.limits.depth} levels")

    def end(self, _name: str) -> None:
        self._depth -= 1

    def declare(self, *_declaration: object) -> None:
        raise Unreadable("it has a document type declaration, which no word processor writes")


def _packed(parts: dict[str, bytes]) -> io.BytesIO:
    """An archive of the checked parts only: what mammoth gets to see."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    packed.seek(0)
    return packed


def _stated(parts: dict[str, bytes]) -> Stated:
    said = _texts(parts.get("docProps/core.xml", b""))
    pages = _texts(parts.get("docProps/app.xml", b"")).get("Pages", "")
    return Stated(
        title=said.get("title"),
        author=said.get("creator"),
        created=said.get("created"),
        modified=said.get("modified"),
        language=said.get("language"),
        pages=int(pages) if pages.isascii() and pages.isdigit() and len(pages) <= len("99999") else None,
    )


def _texts(part: bytes) -> dict[str, str]:
    """The texts of a part's top elements, by their names without namespaces."""
    if not part:
        return {}
    root = ET.fromstring(part)  # noqa: S314  # checked before
    return {element.tag.rpartition("}")[2]: element.text.strip() for element in root if element.text}
