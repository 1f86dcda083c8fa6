"""Documents of each format as they are uploaded, and those that nobody should have to fear."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from documents import TEXT, docx, pdf, pdf_of
from recording import Recorder, names

from morag_client.testing import MockMorag

KEY = {"Authorization": "Bearer test-api-key"}
MIB = 1024 * 1024


@pytest.fixture
def mock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MockMorag]:
    """A server with a folder of its own to be in, and another for temporary files."""
    for name in ("here", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    with MockMorag(max_upload_bytes=3 * MIB) as served:
        yield served


@pytest.fixture
def http(mock: MockMorag) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=mock.url, headers=KEY, timeout=30) as client:
        yield client


def submit(http: httpx2.Client, *, name: str, content: bytes, **fields: str) -> httpx2.Response:
    return http.post("/api/v1/ingest/file", data=fields, files={"file": (name, content)})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tides.html", f"<h1>Tides</h1><p>{TEXT}".encode()),
        ("tides.csv", f'place,said\nBrest,"{TEXT}"\n'.encode()),
        ("tides.json", json.dumps({"title": "Tides", "text": TEXT}).encode()),
        ("tides.pdf", pdf(f"Tides\n{TEXT}")),
        ("tides.docx", docx("# Tides", TEXT)),
    ],
)
def test_each_format_becomes_fourteen_webhooks(mock: MockMorag, http: httpx2.Client, name: str, content: bytes) -> None:
    with Recorder() as recorder:
        task_id = submit(http, name=name, content=content, webhook_url=recorder.url).json()["task_id"]
        assert mock.wait(task_id, timeout_seconds=20)

    assert len(names(recorder.payloads)) == 14
    found = {p["step"]: p["data"] for p in recorder.payloads if p.get("status") == "completed" and "step" in p}
    assert found["markdown_conversion"]["conversion_metadata"]["original_format"] == name.partition(".")[2]
    assert found["metadata_extraction"]["metadata"]["language"] == "en"
    assert "NOAA" in {entity["name"] for entity in found["graph_extraction"]["top_entities"]}
    chunks = http.get(found["chunking"]["chunks_file_url"]).json()
    assert len(chunks) == found["chunking"]["chunks_created"] == found["ingestion"]["chunks_ingested"]


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("empty.pdf", b"", "EMPTY_DOCUMENT"),
        ("broken.pdf", pdf(TEXT)[:500], "CORRUPT_DOCUMENT"),
        ("bomb.pdf", pdf_of([b" " * (100 * MIB)]), "DOCUMENT_TOO_LARGE"),
        ("bomb.docx", docx(body=" " * (100 * MIB)), "DOCUMENT_TOO_LARGE"),
        ("escape.docx", docx(parts={"../../escape.xml": b"<x/>"}), "EMPTY_DOCUMENT"),
        ("deep.json", b"[" * 500_000, "CORRUPT_DOCUMENT"),
        ("program.exe", b"MZ", "UNSUPPORTED_FORMAT"),
    ],
)
def test_what_cannot_be_processed_is_a_failed_task(
    mock: MockMorag, http: httpx2.Client, name: str, content: bytes, code: str
) -> None:
    with Recorder() as recorder:
        task_id = submit(http, name=name, content=content, webhook_url=recorder.url).json()["task_id"]
        assert mock.wait(task_id, timeout_seconds=40)

    failed = ["task_started", "markdown_conversion started", "markdown_conversion failed", "task_failed"]
    assert names(recorder.payloads) == failed
    assert recorder.payloads[2]["data"]["error_code"] == code
    assert recorder.payloads[3]["data"]["error_details"]["error_code"] == code
    status = http.get(f"/api/v1/status/{task_id}").json()
    assert (status["status"], status["error"]) == ("failure", recorder.payloads[2]["error_message"])


@pytest.mark.parametrize(
    "name",
    [
        "../../../escape.txt",
        "/srv/escape.txt",
        "..\\..\\escape.txt",
        "a\x00b.txt",
        "..",
        "é海.txt",
        "a" * 5000 + ".txt",
    ],
)
def test_a_files_name_leads_nowhere(mock: MockMorag, http: httpx2.Client, tmp_path: Path, name: str) -> None:
    content = b"Some text." + b" " * 2 * MIB  # large enough for a temporary file on the way
    boundary = "b0undary"
    parts = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
        + content
        + f"\r\n--{boundary}--\r\n".encode()
    )
    answer = http.post(
        "/api/v1/ingest/file", content=parts, headers={"content-type": f"multipart/form-data; boundary={boundary}"}
    )

    assert answer.status_code in {200, 400}
    if answer.status_code == 200:
        assert mock.wait(answer.json()["task_id"], timeout_seconds=40)
        shown = answer.json()["message"].removeprefix("File ingestion started for ")
        assert not {"/", "\\", "\x00"} & set(shown)
        assert len(shown) <= 255
    else:
        assert isinstance(answer.json()["detail"], str)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert not Path("/srv/escape.txt").exists()


def test_a_file_over_the_limit_is_413(http: httpx2.Client) -> None:
    over = submit(http, name="a.txt", content=b"x" * (3 * MIB + 1))
    far_over = submit(http, name="a.txt", content=b"x" * (40 * MIB))

    for answer in (over, far_over):
        assert answer.status_code == 413
        assert answer.json() == {"detail": "File too large: this server takes at most 3 MiB"}
    assert submit(http, name="a.exe", content=b"x" * (3 * MIB)).status_code == 200


def test_a_body_without_a_stated_length_is_413_too(mock: MockMorag) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
    address = urlsplit(mock.url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(
            b"POST /api/v1/ingest/file HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer test-api-key\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for part in (head, *[b"x" * MIB] * 5):
            connection.sendall(b"%x\r\n%b\r\n" % (len(part), part))
        connection.sendall(b"0\r\n\r\n")
        answer = connection.recv(64 * 1024)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"detail":"File too large' in answer
