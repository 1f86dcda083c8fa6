"""Files made to use up a machine: each ends in bounded time, in a process that may not have much memory."""

from __future__ import annotations

import io
import resource
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable

import pytest
from documents import docx, pdf_of

MIB = 1024 * 1024
MEMORY = 800 * MIB
SECONDS = 45

PROGRAM = """
import sys
from morag_client.testing.pipeline.document import Document
from morag_client.testing.pipeline.running import run
from morag_client.testing.pipeline.steps import Work

*_, end = run(Work(Document(sys.argv[1], sys.stdin.buffer.read()), "task-1"), clock=lambda: 0.0)
print(end.name, (end.error_details or {}).get("error_code"), end.error)
"""


def zeros(gibibytes: int) -> bytes:
    """A Word document of some MiB that expands to so many GiB."""
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("word/document.xml", "w", force_zip64=True) as part,
    ):
        block = bytes(16 * MIB)
        for _ in range(gibibytes * 64):
            part.write(block)
    return packed.getvalue()


HOSTILE: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "a zip bomb": ("a.docx", lambda: zeros(2), "DOCUMENT_TOO_LARGE"),
    "a million elements": ("a.docx", lambda: docx(body="<w:p/>" * 1_000_000), "DOCUMENT_TOO_LARGE"),
    "a million attributes": (
        "a.docx",
        lambda: docx(body="<w:p " + " ".join(f"a{number}=''" for number in range(1_000_000)) + "/>"),
        "DOCUMENT_TOO_LARGE",
    ),
    "deep XML": ("a.docx", lambda: docx(body="<w:p>" * 100_000 + "</w:p>" * 100_000), "CORRUPT_DOCUMENT"),
    "a page of 200 MiB": ("a.pdf", lambda: pdf_of([b" " * (200 * MIB)]), "DOCUMENT_TOO_LARGE"),
    "20 pages of 10 MiB": ("a.pdf", lambda: pdf_of([b" " * (10 * MIB)] * 20), "DOCUMENT_TOO_LARGE"),
    "a form shown 5,000 times": (
        "a.pdf",
        lambda: pdf_of([b"/X0 Do " * 5000], forms=[b"BT /F1 9 Tf (%b) Tj ET" % (b"x" * MIB)]),
        "DOCUMENT_TOO_LARGE",
    ),
    "5,000 pages": ("a.pdf", lambda: pdf_of([b""] * 5000), "DOCUMENT_TOO_LARGE"),
    "deep JSON": ("a.json", lambda: b"[" * 900_000, "CORRUPT_DOCUMENT"),
    "deep JSON with an end": ("a.json", lambda: b'{"a":' * 900 + b"1" + b"}" * 900, "CORRUPT_DOCUMENT"),
    "millions of values": ("a.json", lambda: b"[" + b"[]," * 2_000_000 + b"1]", "DOCUMENT_TOO_LARGE"),
    "a wide row, and many": ("a.csv", lambda: b"," * 10**6 + b"x\n" + b"a,b\n" * 10**6, "DOCUMENT_TOO_LARGE"),
    "a quotation without end": ("a.csv", lambda: b'"' + b"a,b\n" * 2_000_000, "CORRUPT_DOCUMENT"),
    "too much text": ("a.txt", lambda: b"x" * (11 * MIB), "DOCUMENT_TOO_LARGE"),
    **{
        f"html of {piece!r}": ("a.html", lambda piece=piece: piece * (3 * MIB // len(piece)), "EMPTY_DOCUMENT")
        for piece in (
            b"<!--",
            b"<![CDATA[",
            b"<?",
            b"</",
            b"<a ",
            b"<a x='",
            b"<a x=y x=",
            b"<svg>",
            b"<b>",
            b"<table>",
        )
    },
    "quotations in each other": ("a.html", lambda: b"<blockquote>x" * 400_000, "DOCUMENT_TOO_LARGE"),
    "wide cells": ("a.html", lambda: b"<table><tr>" + b"<td colspan=99>x" * 200_000, "DOCUMENT_TOO_LARGE"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_is_a_failed_task(kind: str) -> None:
    name, content, code = HOSTILE[kind]
    made = content()
    began = time.monotonic()

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, name],
        input=made,
        capture_output=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),  # no threads here
        timeout=SECONDS + 10,
        check=False,
    )

    assert done.stderr == b""
    assert done.stdout.decode().startswith(f"task.failed {code} ")
    assert b"more memory than there is" not in done.stdout  # it was stopped before
    assert time.monotonic() - began < SECONDS
