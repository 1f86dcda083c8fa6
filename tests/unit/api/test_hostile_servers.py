"""What a server can answer that is no answer: both clients, on a socket."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from both_clients import KINDS, Kind, calling
from scripted import early, hangs, head, reset, says, scripted, sends

from morag_client import (
    ApiError,
    Gone,
    NotUnderstood,
    RateLimited,
    ServerFailed,
    TimedOut,
    TooLarge,
    Unreachable,
)
from morag_client.api import answers
from morag_client.wire.signed_url import Claims, UrlSigner

PENDING = {"task_id": "t", "status": "pending"}
TAKEN = {"task_id": "t"}

pytestmark = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MORAG_API_URL", "MORAG_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "tides.md"
    path.write_bytes(b"# Tides\n" * 1000)
    return path


def status_of(kind: Kind, url: str, **options: Any) -> Any:
    options = {"api_version": "r1", "attempts": 1, **options}
    return calling(kind, url, lambda client: client.status("t"), **options)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"<html><h1>It works!</h1></html>",
        b'{"task_id": 7, "status": "pending"}',
        b'{"task_id": "t", "status": ["pending"]}',
        b'{"task_id": "t", "status": "x", "progress": "much"}',
        b'{"task_id": "t", "status": "x", "created_at": "then"}',
        b'{"a":' * 5000,
        b"\xff\xfe",
    ],
)
def test_what_cannot_be_read(kind: Kind, body: bytes) -> None:
    with scripted(says(body)) as server, pytest.raises(NotUnderstood):
        status_of(kind, server.url)


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body(kind: Kind, status: int) -> None:
    with scripted(sends(head(status))) as server, pytest.raises(ApiError) as caught:
        status_of(kind, server.url)

    assert caught.value.status_code == status


def test_an_answer_that_does_not_end(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MAX_ANSWER_BYTES", 1_000_000)
    endless = sends(head(200), *[b" " * 65536] * 40)
    with scripted(endless) as server, pytest.raises(NotUnderstood, match="larger than 1000000 bytes"):
        status_of(kind, server.url)


def test_an_answer_that_is_packed_is_not_unpacked(kind: Kind) -> None:
    with scripted(says(b"\x1f\x8b", content_encoding="gzip")) as server, pytest.raises(NotUnderstood, match="gzip"):
        status_of(kind, server.url)

    assert server.asked[0].headers["accept-encoding"] == "identity"


def test_an_answer_that_trickles_in(kind: Kind) -> None:
    slow = sends(head(200), *[b" "] * 100, pause=0.1)
    began = time.monotonic()
    with scripted(slow) as server, pytest.raises(TimedOut, match="trickles"):
        status_of(kind, server.url, timeout_seconds=0.5)

    assert time.monotonic() - began < 3


def test_an_answer_that_does_not_come(kind: Kind) -> None:
    with scripted(hangs) as server, pytest.raises(TimedOut, match="timeout_seconds="):
        status_of(kind, server.url, timeout_seconds=0.2)


@pytest.mark.parametrize(
    "scene",
    [
        sends(),
        reset,
        sends(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"),
        sends(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{", resets=True),
        sends(b"SSH-2.0-OpenSSH_9.6\r\n"),
        sends(b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n{}"),
        sends(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"),
    ],
)
def test_a_connection_that_breaks(kind: Kind, scene: Any) -> None:
    with scripted(scene) as server, pytest.raises(Unreachable) as caught:
        status_of(kind, server.url)

    assert caught.value.status_code is None


def test_a_redirect_is_not_followed(kind: Kind) -> None:
    with scripted(says(PENDING)) as elsewhere, scripted(says(b"", 302, location=elsewhere.url)) as server:
        with pytest.raises(ApiError, match="elsewhere") as caught:
            status_of(kind, server.url, api_key="k3y-0f-mine")

        assert caught.value.status_code == 302
        assert elsewhere.asked == []


def test_gone_says_what_there_is_instead(kind: Kind, document: Path) -> None:
    with scripted(says({"detail": "Gone since November"}, 410)) as server, pytest.raises(Gone) as caught:
        calling(kind, server.url, lambda client: client.ingest_file(document), api_version="r2")

    assert "Gone since November" in str(caught.value)
    assert "r3" in str(caught.value)
    assert "client.stages" in str(caught.value)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_passes_is_asked_again(kind: Kind, status: int) -> None:
    with scripted(says({"detail": "busy"}, status), says(PENDING)) as server:
        assert status_of(kind, server.url, attempts=2).status == "pending"

    assert len(server.asked) == 2


@pytest.mark.parametrize("scene", [reset, sends(head(200), b"{", resets=True), sends()])
def test_what_broke_is_asked_again(kind: Kind, scene: Any) -> None:
    with scripted(scene, says(PENDING)) as server:
        assert status_of(kind, server.url, attempts=2).status == "pending"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 413, 422, 501])
def test_what_does_not_pass_is_asked_once(kind: Kind, status: int) -> None:
    with scripted(says({"detail": "no"}, status), says(PENDING)) as server, pytest.raises(ApiError):
        status_of(kind, server.url, attempts=3)

    assert len(server.asked) == 1


def test_retry_after_is_waited_for(kind: Kind) -> None:
    with scripted(says(b"", 429, retry_after="1"), says(PENDING)) as server:
        began = time.monotonic()
        status_of(kind, server.url, attempts=2)

    assert time.monotonic() - began >= 1


def test_a_retry_after_that_is_too_long_is_not_waited_for(kind: Kind) -> None:
    with scripted(says({"detail": "slow"}, 429, retry_after="61")) as server, pytest.raises(RateLimited) as caught:
        status_of(kind, server.url, attempts=3)

    assert caught.value.retry_after == 61
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("scene", "error"),
    [
        (says({"detail": "busy"}, 503), ServerFailed),
        (says({"detail": "busy"}, 429, retry_after="0"), RateLimited),
        (reset, Unreachable),
        (sends(), Unreachable),
        (early(reset), Unreachable),
        (sends(head(200)), NotUnderstood),
    ],
)
def test_a_submission_is_sent_once(kind: Kind, scene: Any, error: type[ApiError], document: Path) -> None:
    with scripted(scene, says(TAKEN)) as server, pytest.raises(error):
        calling(kind, server.url, lambda client: client.ingest_file(document), api_version="r1", attempts=4)

    assert len(server.asked) == 1


def test_a_submission_is_sent_again_where_nothing_was_sent(kind: Kind, document: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    began = time.monotonic()
    with pytest.raises(Unreachable, match="is it running") as caught:
        calling(kind, url, lambda client: client.ingest_file(document), api_version="r1", attempts=2)

    assert caught.value.is_unsent
    assert time.monotonic() - began >= 0.2


def test_a_server_that_takes_only_part_of_an_upload(kind: Kind, tmp_path: Path) -> None:
    large = tmp_path / "large.mp4"
    with large.open("wb") as file:
        file.truncate(50_000_000)
    refusing = early(sends(head(413, content_length="17") + b'{"detail": "big"}', pause=0.3))
    with scripted(refusing) as server, pytest.raises((TooLarge, Unreachable)) as caught:
        calling(kind, server.url, lambda client: client.ingest_file(large), api_version="r1")

    assert isinstance(caught.value, Unreachable) or caught.value.detail == "big"


def test_progress_of_an_upload(kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(os.urandom(1_000_000))
    told: list[tuple[int, int]] = []
    with scripted(says(TAKEN)) as server:
        calling(
            kind,
            server.url,
            lambda client: client.ingest_file(path, on_progress=lambda *far: told.append(far)),
            api_version="r1",
        )

    assert told[-1] == (1_000_000, 1_000_000)
    assert [sent for sent, _ in told] == sorted({sent for sent, _ in told})
    assert len(told) > 2
    assert server.asked[0].size == int(server.asked[0].headers["content-length"])


def test_an_error_of_the_progress_callback_is_the_callers(kind: Kind, document: Path) -> None:
    def fails(_sent: int, _total: int) -> None:
        raise LookupError("mine")

    with scripted(says(TAKEN)) as server, pytest.raises(LookupError, match="mine"):
        calling(kind, server.url, lambda client: client.ingest_file(document, on_progress=fails), api_version="r1")


def test_a_file_that_shrinks_under_way(kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(bytes(5_000_000))

    def shrinks(_sent: int, _total: int) -> None:
        with contextlib.suppress(OSError):
            os.truncate(path, 100)

    with scripted(says(TAKEN)) as server, pytest.raises(OSError, match="became shorter"):
        calling(kind, server.url, lambda client: client.ingest_file(path, on_progress=shrinks), api_version="r1")


def test_what_is_no_file(kind: Kind, tmp_path: Path) -> None:
    with scripted(says(TAKEN)) as server:
        for path in (tmp_path, tmp_path / "nowhere", Path("/dev/null")):
            with pytest.raises(OSError):
                calling(kind, server.url, lambda client, path=path: client.ingest_file(path), api_version="r1")

    assert server.asked == []


@pytest.mark.parametrize("name", ['a"b.pdf', "a\r\nx: y.pdf", "ü ß.pdf", "a;b.pdf", os.fsdecode(b"\xff.pdf")])
def test_odd_names_of_files_stay_in_their_header(kind: Kind, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("x")
    with scripted(says(TAKEN)) as server:
        calling(kind, server.url, lambda client: client.ingest_file(path), api_version="r1")

    lines = server.asked[0].body.split(b"\r\n")
    assert [line for line in lines if line.startswith(b"x:")] == []
    assert sum(line.count(b"filename=") for line in lines) == 1


@pytest.mark.parametrize("scene", [reset, sends(), sends(head(200), b"{", resets=True)])
def test_what_may_have_been_taken_is_said_to_be(kind: Kind, scene: Any, document: Path) -> None:
    with scripted(scene) as server, pytest.raises(Unreachable, match="may have taken it all the same") as caught:
        calling(kind, server.url, lambda client: client.ingest_file(document), api_version="r1")

    assert not caught.value.is_unsent


def test_a_question_may_be_asked_again(kind: Kind) -> None:
    with scripted(reset) as server, pytest.raises(Unreachable) as caught:
        status_of(kind, server.url)

    assert "may have taken" not in str(caught.value)


def test_the_token_of_a_signed_url_is_not_in_an_answer(kind: Kind) -> None:
    token = UrlSigner([b"a key of some length"]).sign(Claims({"ref": "r"}))
    entry = {"status": "running", "metadata": {"webhook_url": f"https://app.example/webhook/{token}"}}
    noted = {"task_id": "t", "history": [entry]}
    with scripted(says(noted)) as server:
        history = calling(kind, server.url, lambda client: client.history("t"), api_version="r2")

    assert token not in repr(history)
    assert history.history[0].metadata == {"webhook_url": "https://app.example/webhook/REDACTED"}
