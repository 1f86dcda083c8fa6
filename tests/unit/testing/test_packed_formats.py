"""PDF and Word documents: their text, what they say of themselves, and what cannot be read."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
import zipfile

import pypdf
import pytest
from documents import TEXT, WORD, archive, docx, pdf, pdf_of

from morag_client.testing.pipeline.document import Document, StepFailure
from morag_client.testing.pipeline.formats import convert
from morag_client.testing.pipeline.formats.converted import Limits

CELL = "<w:tc><w:p><w:r><w:t>{}</w:t></w:r></w:p></w:tc>"
ROW = "<w:tr>{}{}</w:tr>"
TABLE = "".join(ROW.format(*map(CELL.format, row)) for row in (("Place", "Height"), ("Brest", "7")))


def refusal(name: str, content: bytes, limits: Limits | None = None) -> StepFailure:
    with pytest.raises(StepFailure) as refused:
        convert(Document(name, content), limits=limits)
    return refused.value


def encrypted(password: str) -> bytes:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf(TEXT)))
    writer.encrypt(password, "owner", algorithm="RC4-128")
    written = io.BytesIO()
    writer.write(written)
    return written.getvalue()


def test_a_pdf() -> None:
    information = {
        "Title": "Tides",
        "Author": "Jane Smith",
        "CreationDate": "D:20250203101112+01'00'",
        "ModDate": "D:2025",
    }
    content = pdf(f"Tides\n{TEXT}", "# The 2nd page", information=information, language="en-GB")

    page = convert(Document("tides.PDF", content))

    assert page.markdown == f"Tides\n{TEXT}\n\n\\# The 2nd page\n"
    assert (page.stated.title, page.stated.author, page.stated.pages) == ("Tides", "Jane Smith", 2)
    assert (page.stated.created, page.stated.modified, page.stated.language) == ("2025-02-03", None, "en")


def test_a_word_document() -> None:
    core = {
        "dc:title": "Tides",
        "dc:creator": "Jane Smith",
        "dcterms:created": "2025-01-02T03:04:05Z",
        "dcterms:modified": "2025-06-07T00:00:00Z",
        "dc:language": "de-DE",
    }
    app = {"docProps/app.xml": b"<Properties><Pages>12</Pages></Properties>"}
    content = docx("# Heights", TEXT, body=f"<w:tbl>{TABLE}</w:tbl>", core=core, parts=app)

    page = convert(Document("tides.docx", content))

    assert page.markdown == f"# Heights\n\n{TEXT}\n\n| Place | Height |\n| --- | --- |\n| Brest | 7 |\n"
    assert (page.stated.title, page.stated.author, page.stated.pages) == ("Tides", "Jane Smith", 12)
    assert (page.stated.created, page.stated.modified, page.stated.language) == ("2025-01-02", "2025-06-07", "de")


def test_what_is_packed_beside_the_text_is_not_unpacked() -> None:
    pictures = {
        "word/media/image1.png": bytes(60_000_000),
        "../../escape.txt": b"x",
        "word/embeddings/inner.docx": docx(),
    }

    assert convert(Document("a.docx", docx(TEXT, parts=pictures))).markdown == f"{TEXT}\n"


def test_a_pdf_that_anybody_may_open_is_read_though_it_is_encrypted() -> None:
    assert convert(Document("a.pdf", encrypted(""))).markdown == f"{TEXT}\n"


def encrypted_part() -> bytes:
    content = bytearray(docx(TEXT))
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(mark)
        while at >= 0:
            content[at + place] |= 1
            at = content.find(mark, at + 4)
    return bytes(content)


def squeezed(kind: int) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", kind) as written:
        written.writestr("word/document.xml", "<x/>")
    return packed.getvalue()


def lying_about_its_size() -> bytes:
    """Says of each part that it has 9 bytes, whatever it has."""
    content = bytearray(docx(TEXT, "x" * 100_000))
    at = content.find(b"PK\x01\x02")
    while at >= 0:
        content[at + 24 : at + 28] = (9).to_bytes(4, "little")
        at = content.find(b"PK\x01\x02", at + 4)
    return bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("a.pdf", encrypted("secret"), "ENCRYPTED_DOCUMENT"),
        ("a.pdf", b"%PDF-1.7", "CORRUPT_DOCUMENT"),
        ("a.pdf", b"no pdf at all", "CORRUPT_DOCUMENT"),
        ("a.pdf", pdf(TEXT)[:400], "CORRUPT_DOCUMENT"),
        ("a.pdf", pdf(""), "EMPTY_DOCUMENT"),
        ("a.pdf", pdf_of([b"[" * 100_000]), "CORRUPT_DOCUMENT"),
        ("a.pdf", pdf_of([b"q " * 2_000_000]), "DOCUMENT_TOO_LARGE"),
        ("a.docx", b"PK\x03\x04", "CORRUPT_DOCUMENT"),
        ("a.docx", docx(TEXT)[:-40], "CORRUPT_DOCUMENT"),
        ("a.docx", docx(TEXT)[:200] + b"garbage" + docx(TEXT)[207:], "CORRUPT_DOCUMENT"),
        ("a.docx", archive({"other.txt": b"no document"}), "CORRUPT_DOCUMENT"),
        ("a.docx", archive({"word/document.xml": b"<no xml"}), "CORRUPT_DOCUMENT"),
        ("a.docx", archive({"_rels/.rels": b"<x/>"}), "CORRUPT_DOCUMENT"),
        ("a.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100), "ENCRYPTED_DOCUMENT"),
        ("a.docx", encrypted_part(), "ENCRYPTED_DOCUMENT"),
        ("a.docx", squeezed(zipfile.ZIP_LZMA), "CORRUPT_DOCUMENT"),
        ("a.docx", lying_about_its_size(), "CORRUPT_DOCUMENT"),
        ("a.docx", docx(), "EMPTY_DOCUMENT"),
        ("a.docx", docx(body="<w:p>" * 1000 + "</w:p>" * 1000), "CORRUPT_DOCUMENT"),
        ("a.docx", docx(parts={"word/document.xml": b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>'}), "CORRUPT_DOCUMENT"),
        ("a.docx", archive({f"word/{number}.xml": b"<x/>" for number in range(5001)}), "DOCUMENT_TOO_LARGE"),
    ],
)
def test_what_cannot_be_read_says_why(name: str, content: bytes, code: str) -> None:
    failure = refusal(name, content)

    assert failure.details == {"error_code": code, "attempted_format": name[2:]}
    assert str(failure).startswith(f"{name} cannot be converted to markdown: it")
    assert len(str(failure)) < 400


ENTITIES = f'<!DOCTYPE w [<!ENTITY a "b">]><w:document xmlns:w="{WORD}"><w:body><w:p><w:r><w:t>&a;</w:t></w:r></w:p>'


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (docx(parts={"word/document.xml": f"{ENTITIES}</w:body></w:document>".encode()}), "document type declaration"),
        (squeezed(zipfile.ZIP_LZMA), "compressed as no word processor does"),
        (squeezed(zipfile.ZIP_BZIP2), "compressed as no word processor does"),
        (archive({"other.txt": b"no document"}), "no Word document"),
        (lying_about_its_size(), "damaged"),
    ],
)
def test_the_reason_is_the_first_that_there_is(content: bytes, reason: str) -> None:
    assert reason in str(refusal("a.docx", content))


@pytest.mark.parametrize(
    ("name", "content", "limits"),
    [
        ("a.pdf", pdf(*["text"] * 11), Limits(pages=10)),
        ("a.pdf", pdf_of([b" " * 1000] * 11), Limits(expanded_bytes=10_000)),
        ("a.pdf", pdf("text " * 100), Limits(text_bytes=100)),
        ("a.docx", docx(*["text"] * 100), Limits(elements=100)),
        ("a.docx", docx("text " * 1000), Limits(text_bytes=100)),
        ("a.docx", docx("text " * 1000), Limits(expanded_bytes=4000)),
    ],
)
def test_limits(name: str, content: bytes, limits: Limits) -> None:
    assert refusal(name, content, limits).details["error_code"] == "DOCUMENT_TOO_LARGE"


@pytest.mark.parametrize(("name", "content"), [("a.pdf", pdf(TEXT)), ("a.docx", docx(TEXT))])
def test_what_takes_too_long_is_given_up(name: str, content: bytes) -> None:
    assert refusal(name, content, Limits(seconds=-1)).details["error_code"] == "CONVERSION_TIMEOUT"


def test_a_damaged_pdf_says_nothing_to_a_terminal() -> None:
    program = (
        "from morag_client.testing.pipeline.document import Document\n"
        "from morag_client.testing.pipeline.formats import convert\n"
        "import sys\n"
        "convert(Document('a.pdf', sys.stdin.buffer.read()))\n"
    )
    damaged = pdf_of([b"/X0 Do BT /F1 9 Tf (text) Tj ET"], forms=[b"/X0 Do"])

    done = subprocess.run([sys.executable, "-c", program], input=damaged, capture_output=True, check=True)

    assert (done.stdout, done.stderr) == (b"", b"")


def test_but_whoever_configured_logging_hears_of_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        convert(Document("a.pdf", pdf_of([b"/X0 Do BT /F1 9 Tf (text) Tj ET"], forms=[b"/X0 Do"])))

    assert "cyclic" in caplog.text


@pytest.mark.parametrize(("name", "package"), [("a.pdf", "pypdf"), ("a.docx", "mammoth")])
def test_a_missing_package_names_its_extra(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)

    failure = refusal(name, pdf(TEXT))

    assert failure.details["error_code"] == "MISSING_PACKAGE"
    assert f"{package} is not installed; run: pip install 'morag-client[mock]'" in str(failure)


def test_the_formats_cost_nothing_before_a_file_comes() -> None:
    program = "import morag_client.testing, sys; print({'pypdf', 'mammoth'} & set(sys.modules))"

    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout == b"set()\n"
