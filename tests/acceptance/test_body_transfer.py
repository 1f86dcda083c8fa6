"""How bodies arrive over real sockets: too large, in pieces, slowly, or not to their end."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import deliveries
import pytest
import receiving
import servers

LIMIT = 300_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("transfer")


@pytest.fixture(scope="module", params=["httptools", "h11"])
def url(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    receiver = receiving.receiver_of(folder, max_body_bytes=LIMIT, body_timeout=0.5)
    with servers.serving(receiver, http=request.param) as url:
        yield url


def post(url: str, body: bytes, *lines: bytes, **how: bytes | None) -> servers.Answer:
    return servers.exchange(url, servers.request_bytes(body, servers.signed(body), *lines, **how))


def padded(size: int) -> bytes:
    body = deliveries.task_body()
    return body + b" " * (size - len(body))


def chunked(body: bytes, *, size: int) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def post_chunked(url: str, body: bytes, *, size: int) -> servers.Answer:
    head = servers.request_bytes(b"", servers.signed(body), b"Transfer-Encoding: chunked", length=None)
    return servers.exchange(url, head, chunked(body, size=size))


def test_a_body_at_the_limit_is_accepted_and_one_byte_more_is_413(url: str, folder: Path) -> None:
    assert post(url, padded(LIMIT)).status == 200
    assert post_chunked(url, padded(LIMIT), size=4096).status == 200
    before = receiving.counts(folder)

    for answer in (post(url, padded(LIMIT + 1)), post_chunked(url, padded(LIMIT + 1), size=4096)):
        assert (answer.status, answer.json["code"]) == (413, "body_too_large")
        assert answer.headers["connection"] == "close"

    assert receiving.counts(folder) == before


@pytest.mark.parametrize("length", [b"%d" % (LIMIT + 1), b"000%d" % (LIMIT + 1), b"9" * 18])
def test_what_says_that_it_is_too_large_is_refused_unread(url: str, length: bytes) -> None:
    answer = servers.exchange(url, servers.request_bytes(b"", length=length))

    assert (answer.status, answer.headers["connection"]) == (413, "close")


@pytest.mark.parametrize("length", [b"9" * 30, b"9" * 6000, b"-1", b"+5", b"1e3", b"0x10", b"x", b""])
def test_a_length_that_is_no_length_is_the_servers_400(url: str, length: bytes) -> None:
    assert servers.exchange(url, servers.request_bytes(b"{}", length=length or b" ")).status == 400


@pytest.mark.parametrize("form", [b"%d ", b" %d", b"000%d", b"\t%d \t"])
def test_a_length_may_be_written_with_blanks_and_zeros(url: str, form: bytes) -> None:
    body = deliveries.task_body()

    assert post(url, body, length=form % len(body)).status == 200


def test_an_endless_chunked_body_is_413_and_not_kept(url: str, folder: Path) -> None:
    before = receiving.counts(folder)
    head = servers.request_bytes(b"", b"Transfer-Encoding: chunked", length=None)

    answer = servers.exchange(url, head, *[b"10000\r\n" + b"x" * 0x10000 + b"\r\n"] * 200)

    assert answer.status == 413
    assert receiving.counts(folder) == before


def test_a_chunked_body_is_accepted_in_any_pieces(url: str) -> None:
    for size in (1, 7, 1000):
        assert post_chunked(url, deliveries.task_body(), size=size).status == 200


def test_broken_chunks_and_contradicting_lengths_are_never_believed(url: str, folder: Path) -> None:
    """Which of these the HTTP server refuses itself is its own affair; what counts is that no half body gets in."""
    before, body = receiving.counts(folder), deliveries.task_body()
    proof = servers.signed(body)
    chunks = servers.request_bytes(b"", proof, b"Transfer-Encoding: chunked", length=None)
    answers = [
        servers.exchange(url, chunks, b"zz\r\n" + body),
        servers.exchange(url, servers.request_bytes(body, proof, length=b"%d" % (len(body) - 5))),
        servers.exchange(url, servers.request_bytes(body, proof, b"Content-Length: %d" % (len(body) + 1))),
        servers.exchange(url, servers.request_bytes(body, proof, length=None)),
    ]

    assert {answer.status for answer in answers} <= {400, 401}
    assert receiving.counts(folder) == before


# Time -----------------------------------------------------------------------------------------------------------------


def test_a_body_that_does_not_come_is_408_in_time(url: str, folder: Path) -> None:
    before, body = receiving.counts(folder), deliveries.task_body()
    began = time.monotonic()

    answer = servers.exchange(url, servers.request_bytes(body, servers.signed(body))[:-5])

    assert 0.4 < time.monotonic() - began < 3
    assert (answer.status, answer.json["code"]) == (408, "body_timeout")
    assert answer.headers["connection"] == "close"
    assert receiving.counts(folder) == before


def test_a_body_that_drips_is_408_in_time(url: str) -> None:
    body = deliveries.task_body()
    request = servers.request_bytes(body, servers.signed(body))
    at = len(request) - len(body)
    drops = [part for number in range(20) for part in (request[at + number : at + number + 1], 0.1)]
    began = time.monotonic()

    answer = servers.exchange(url, request[:at], *drops[:16])

    assert answer.status == 408
    assert time.monotonic() - began < 4


def test_a_slow_body_within_the_time_is_accepted(url: str) -> None:
    body = deliveries.task_body()
    request = servers.request_bytes(body, servers.signed(body))

    assert servers.exchange(url, request[:50], 0.1, request[50:-9], 0.1, request[-9:]).status == 200


@pytest.mark.parametrize("left_out", [1, 10, 10_000])
def test_a_client_that_is_gone_in_the_middle_leaves_nothing(
    url: str, folder: Path, left_out: int, caplog: pytest.LogCaptureFixture
) -> None:
    before, body = receiving.counts(folder), padded(50_000)

    with caplog.at_level(logging.INFO):
        servers.hang_up(url, servers.request_bytes(body, servers.signed(body))[:-left_out])
        receiving.eventually(lambda: "hung up in the middle of a body" in caplog.text)

    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert receiving.counts(folder) == before
    assert post(url, body).json == {"status": "received"}


def test_a_client_that_is_gone_before_the_answer_is_stored_all_the_same(url: str, folder: Path) -> None:
    events, _ = receiving.counts(folder)
    sent = [deliveries.task_body() for _ in range(20)]

    for body in sent:
        servers.hang_up(url, servers.request_bytes(body, servers.signed(body)))

    receiving.eventually(lambda: receiving.counts(folder)[0] == events + 20)
    assert {post(url, body).json["status"] for body in sent} == {"duplicate"}


def test_many_half_requests_do_not_keep_anybody_from_being_answered(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    half = servers.request_bytes(b"{}", length=b"1000")
    connections = [socket.create_connection((host, int(port))) for _ in range(100)]
    for connection in connections:
        connection.sendall(half)

    answer = post(url, deliveries.task_body())

    assert answer.status == 200
    for connection in connections:
        connection.close()
