"""Answers read from bytes as they come, and the beginnings of requests."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from morag_client.testing.raw.http import AnswerReader, NotHttp, request_head, target_of

ANSWERS = {
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello": (200, b"hello", True),
    b"HTTP/1.1 401 Unauthorized\r\ncontent-length:2\r\nConnection: close\r\n\r\nno": (401, b"no", False),
    b"HTTP/1.1 204 No Content\r\nDate: x\r\n\r\n": (204, b"", True),
    b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok": (200, b"ok", False),
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503\r\nContent-Length: 0\r\n\r\n": (503, b"", True),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n": (
        *(200, b"hello world", True),
    ),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nTrailer: t\r\n\r\n": (200, b"a", True),
}


@given(st.sampled_from(sorted(ANSWERS)), st.lists(st.integers(1, 200)))
def test_an_answer_is_the_same_however_it_is_cut(answer: bytes, cuts: list[int]) -> None:
    places = sorted({cut for cut in cuts if cut < len(answer)})
    pieces = [answer[begin:end] for begin, end in zip([0, *places], [*places, len(answer)], strict=True)]
    reader = AnswerReader()

    complete = [reader.feed(piece) for piece in pieces]

    assert complete == [*[False] * (len(pieces) - 1), True]
    assert (reader.status, reader.body, reader.is_reusable) == ANSWERS[answer]


def test_without_a_length_the_end_of_the_connection_is_the_end() -> None:
    reader = AnswerReader()

    assert not reader.feed(b"HTTP/1.1 200 OK\r\n\r\nhel")
    assert not reader.feed(b"lo")
    assert reader.end()
    assert (reader.body, reader.is_reusable) == (b"hello", False)


def test_what_nobody_asked_for_is_not_the_next_answer() -> None:
    reader = AnswerReader()

    assert reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n")
    assert (reader.body, reader.is_reusable) == (b"ok", False)


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ],
)
def test_an_answer_that_breaks_off_is_none(begun: bytes) -> None:
    reader = AnswerReader()
    reader.feed(begun)

    assert not reader.end()
    assert reader.has_begun is bool(begun)


@pytest.mark.parametrize(
    "wrong",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 fine\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: some\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfew\r\n",
        b"x" * 70_000,
    ],
)
def test_what_is_no_answer_is_said(wrong: bytes) -> None:
    with pytest.raises(NotHttp):
        AnswerReader().feed(wrong)


@given(st.binary(max_size=200))
def test_no_bytes_are_too_much_for_it(data: bytes) -> None:
    reader = AnswerReader()
    try:
        reader.feed(data)
        reader.end()
    except NotHttp:
        pass


@pytest.mark.parametrize(
    ("url", "where", "opening"),
    [
        (
            "http://127.0.0.1:8001/webhook?a=b%20c",
            ("127.0.0.1", 8001, False),
            b"POST /webhook?a=b%20c HTTP/1.1\r\nHost: 127.0.0.1:8001\r\n",
        ),
        ("https://example.com", ("example.com", 443, True), b"POST / HTTP/1.1\r\nHost: example.com\r\n"),
        ("http://[::1]:80/w", ("::1", 80, False), b"POST /w HTTP/1.1\r\nHost: [::1]\r\n"),
        (
            "http://user:p%40ss@host/",
            ("host", 80, False),
            b"POST / HTTP/1.1\r\nHost: host\r\nAuthorization: Basic dXNlcjpwQHNz\r\n",
        ),
    ],
)
def test_where_a_url_leads(url: str, where: tuple[str, int, bool], opening: bytes) -> None:
    target = target_of(url)

    assert (target.host, target.port, target.is_tls) == where
    assert target.opening == opening


def test_a_head_ends_before_the_body() -> None:
    head = request_head(target_of("http://host/"), {"X-A": "b"}, length=12)

    assert head.endswith(b"X-A: b\r\nContent-Length: 12\r\n\r\n")
    assert head.count(b"\r\n\r\n") == 1
