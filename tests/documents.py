"""Small real files of each format, and hostile ones, made on the spot."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

TEXT = "The tide is the rise and fall of the sea. NOAA measures the tide with a gauge in Saint-Malo."
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_RELATIONSHIPS = "http://schemas.openxmlformats.org/package/2006/relationships"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_CORE = "http://schemas.openxmlformats.org/package/2006/metadata/core-properties"


def pdf(*pages: str, information: Mapping[str, str] | None = None, language: str = "") -> bytes:
    """A PDF with a page for each text, a line for each of its lines."""
    contents = []
    for page in pages:
        shown = " T* ".join(f"({_literal(line)}) Tj" for line in page.split("\n"))
        contents.append(f"BT /F1 11 Tf 14 TL 50 750 Td {shown} ET".encode("latin-1"))
    return pdf_of(contents, information=information, language=language)


def pdf_of(
    contents: Sequence[bytes],
    *,
    information: Mapping[str, str] | None = None,
    language: str = "",
    forms: Sequence[bytes] = (),
) -> bytes:
    """A PDF with a page for each content stream, and with forms that they all may show, as /X0, /X1, …"""
    first_page, first_form = 5, 5 + 2 * len(contents)
    kids = " ".join(f"{first_page + 2 * place} 0 R" for place in range(len(contents)))
    shapes = " ".join(f"/X{place} {first_form + place} 0 R" for place in range(len(forms)))
    resources = f"/Resources << /Font << /F1 3 0 R >> /XObject << {shapes} >> >>"
    said = "".join(f"/{key} ({_literal(value)})" for key, value in (information or {}).items())
    objects = [
        f"<< /Type /Catalog /Pages 2 0 R {f'/Lang ({language})' if language else ''} >>".encode(),
        f"<< /Type /Pages /Count {len(contents)} /Kids [{kids}] >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        f"<< {said} >>".encode("latin-1"),
    ]
    for place, content in enumerate(contents):
        page = f"/Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents {first_page + 2 * place + 1} 0 R"
        objects += [f"<< {page} {resources} >>".encode(), _stream(content)]
    form = f"/Type /XObject /Subtype /Form /BBox [0 0 600 800] {resources}"
    objects += [_stream(content, form) for content in forms]
    return _file(objects)


def docx(
    *paragraphs: str, body: str = "", core: Mapping[str, str] | None = None, parts: Mapping[str, bytes] | None = None
) -> bytes:
    """A Word document with these paragraphs (`# …` is a heading), then `body` as it is, and further parts."""
    written = "".join(map(_paragraph, paragraphs))
    said = "".join(f"<{key}>{escape(value)}</{key}>" for key, value in (core or {}).items())
    return archive(
        {
            "[Content_Types].xml": b'<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>',
            "_rels/.rels": f'<Relationships xmlns="{_RELATIONSHIPS}"><Relationship Id="r1"'
            f' Type="{_OFFICE}/officeDocument" Target="word/document.xml"/></Relationships>'.encode(),
            "word/document.xml": f'<w:document xmlns:w="{WORD}"><w:body>{written}{body}</w:body></w:document>'.encode(),
            "word/styles.xml": f'<w:styles xmlns:w="{WORD}"><w:style w:type="paragraph" w:styleId="Heading1"><w:name'
            ' w:val="heading 1"/></w:style></w:styles>'.encode(),
            "docProps/core.xml": f'<cp:coreProperties xmlns:cp="{_CORE}" xmlns:dc="http://purl.org/dc/elements/1.1/"'
            f' xmlns:dcterms="http://purl.org/dc/terms/">{said}</cp:coreProperties>'.encode(),
            **(parts or {}),
        }
    )


def archive(parts: Mapping[str, bytes]) -> bytes:
    """A ZIP archive, compressed."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as written:
        for name, content in parts.items():
            written.writestr(name, content)
    return packed.getvalue()


def _paragraph(text: str) -> str:
    style = '<w:pPr><w:pStyle w:val="Heading1"/></w:pPr>' if text.startswith("# ") else ""
    return f'<w:p>{style}<w:r><w:t xml:space="preserve">{escape(text.removeprefix("# "))}</w:t></w:r></w:p>'


def _literal(text: str) -> str:
    return text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")


def _stream(content: bytes, dictionary: str = "") -> bytes:
    packed = zlib.compress(content, 9)
    head = f"<< {dictionary} /Filter /FlateDecode /Length {len(packed)} >>\nstream\n"
    return head.encode() + packed + b"\nendstream"


def _file(objects: Sequence[bytes]) -> bytes:
    written = io.BytesIO(b"%PDF-1.7\n")
    written.seek(0, io.SEEK_END)
    places = []
    for number, content in enumerate(objects, start=1):
        places.append(written.tell())
        written.write(b"%d 0 obj\n%b\nendobj\n" % (number, content))
    table = written.tell()
    written.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    written.writelines(b"%010d 00000 n \n" % place for place in places)
    written.write(b"trailer\n<< /Size %d /Root 1 0 R /Info 4 0 R >>\n" % (len(objects) + 1))
    written.write(b"startxref\n%d\n%%%%EOF\n" % table)
    return written.getvalue()
