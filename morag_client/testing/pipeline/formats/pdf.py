"""PDF: the text of each page, as pypdf finds it."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from morag_client.testing.pipeline.formats.converted import Allowance, Converted, Stated, Unreadable, too_large
from morag_client.testing.pipeline.formats.encoding import unified
from morag_client.testing.pipeline.formats.markup import escaped, escaped_lines
from morag_client.testing.pipeline.formats.packages import required

if TYPE_CHECKING:
    from pypdf import PageObject, PdfReader

_MARK: Final = b"%PDF-"
_WHERE_THE_MARK_STANDS: Final = 1024
_PARSING_WORK: Final = 500_000
_SILENCE: Final = logging.NullHandler()
_DATE = re.compile(r"D?:?\s?(\d{4})(\d\d)(\d\d)")


def read_pdf(content: bytes, allowance: Allowance) -> Converted:
    """The text of its pages, in their order. Raises Unreadable where a password is needed."""
    pypdf = required("pypdf")
    if _MARK not in content[:_WHERE_THE_MARK_STANDS]:
        raise Unreadable("it does not begin as a PDF does")
    # Damaged files make it say a lot, which is for those who configured logging.
    logging.getLogger("pypdf").addHandler(_SILENCE)
    bound = allowance.limits.expanded_bytes
    configuration = pypdf.get_configuration().with_overwrites(
        maximum_declared_stream_length=bound,
        array_based_stream_maximum_output_length=bound,
        lzw_maximum_output_length=bound,
        run_length_maximum_output_length=bound,
        zlib_maximum_output_length=bound,
        stream_decoding_work_maximum_length=2 * bound,
        stream_parsing_work_maximum_count=_PARSING_WORK,
        page_tree_maximum_entries=2 * allowance.limits.pages,
        jbig2dec_binary=None,
    )
    with pypdf.apply_configuration(configuration):
        try:
            return _read(pypdf.PdfReader(io.BytesIO(content)), pypdf.PasswordType.NOT_DECRYPTED, allowance)
        except pypdf.errors.LimitReachedError as error:
            raise too_large(f"it is beyond what is read of a PDF ({error})") from error
        except pypdf.errors.DependencyError as error:
            raise Unreadable("its encryption cannot be read", error_code="ENCRYPTED_DOCUMENT") from error


def _read(reader: PdfReader, refused: Any, allowance: Allowance) -> Converted:
    if reader.is_encrypted and reader.decrypt("") == refused:
        raise Unreadable("it is encrypted with a password", error_code="ENCRYPTED_DOCUMENT")
    allowance.check_time()
    pages = len(reader.pages)
    if pages > allowance.limits.pages:
        raise too_large(f"it has more than {allowance.limits.pages:,} pages")
    texts = []
    for page in reader.pages:
        allowance.check_time()
        _spend_on_contents(page, allowance)
        texts.append(_text(page, allowance))
        allowance.check_text(sum(map(len, texts)))
        # What pypdf keeps of one page is of no use for the next, and adds up.
        reader.resolved_objects.clear()
    markdown = "\n\n".join(text for text in texts if text)
    return Converted(escaped_lines(escaped(markdown)), _stated(reader, pages))


def _spend_on_contents(page: PageObject, allowance: Allowance) -> None:
    """Accounts for what a page's own streams expand to, one at a time."""
    contents = page.get("/Contents")
    contents = None if contents is None else contents.get_object()
    for part in contents if isinstance(contents, list) else [contents]:
        stream = None if part is None else part.get_object()
        read = getattr(stream, "get_data", None)
        if read is not None:
            allowance.spend(len(read()))


def _text(page: PageObject, allowance: Allowance) -> str:
    """The text of a page. Forms within it can show the same text a thousand times: what is shown is counted."""
    shown = 0

    def look(*_operation: object) -> None:
        allowance.check_time()
        allowance.check_text(shown)

    def count(text: str, *_place: object) -> None:
        nonlocal shown
        shown += len(text)

    text = page.extract_text(visitor_operand_before=look, visitor_text=count)
    # pypdf goes on where a form within the page cannot be read, also where it was stopped from here.
    look()
    return unified(text)


def _stated(reader: PdfReader, pages: int) -> Stated:
    # Read one by one and by hand: what is wrong in one of them must not cost the others, nor the text.
    said: dict[str, str] = {}
    information: Mapping[str, Any] = reader.metadata or {}
    for key in ("/Title", "/Author", "/CreationDate", "/ModDate"):
        value = information.get(key)
        if isinstance(value, str):
            said[key] = value
    language = reader.root_object.get("/Lang")
    return Stated(
        title=said.get("/Title"),
        author=said.get("/Author"),
        created=_date(said.get("/CreationDate", "")),
        modified=_date(said.get("/ModDate", "")),
        language=language if isinstance(language, str) else None,
        pages=pages,
    )


def _date(written: str) -> str | None:
    found = _DATE.match(written)
    return f"{found[1]}-{found[2]}-{found[3]}" if found else None
