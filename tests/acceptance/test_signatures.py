"""Who may deliver, over real sockets: what does not prove itself is 401 and leaves nothing behind."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import deliveries
import pytest
import receiving
import servers

BODY = b'{"event_type":"task_started","timestamp":"2024-01-01T10:00:00Z","data":{"task_id":"t","status":"started"}}'
GOOD = deliveries.sign(BODY, deliveries.SECRET).encode()
BEARER = b"Authorization: Bearer tok-1"
NAME = b"X-MoRAG-Signature: "

REFUSED: dict[str, list[bytes]] = {
    "missing": [],
    "under another name": [b"X_MoRAG_Signature: " + GOOD],
    "empty": [NAME],
    "blank": [NAME + b"   "],
    "prefix only": [NAME + b"sha256="],
    "no prefix": [NAME + GOOD.removeprefix(b"sha256=")],
    "SHA256=": [NAME + GOOD.replace(b"sha256", b"SHA256")],
    "sha1=": [NAME + GOOD.replace(b"sha256", b"sha1")],
    "63 digits": [NAME + GOOD[:-1]],
    "65 digits": [NAME + GOOD + b"0"],
    "upper-case digits": [NAME + b"sha256=" + GOOD[7:].upper()],
    "non-hex": [NAME + GOOD[:-1] + b"g"],
    "non-ASCII, Latin-1": [NAME + GOOD[:-1] + b"\xe9"],
    "non-ASCII, UTF-8": [NAME + GOOD[:-1] + "é".encode()],
    "a blank that HTTP knows nothing of": [NAME + b"\xa0" + GOOD],
    "blanks inside": [NAME + GOOD.replace(b"=", b" = ")],
    "sent twice": [NAME + GOOD, NAME + GOOD],
    "sent twice, a wrong one first": [NAME + b"sha256=" + b"0" * 64, NAME + GOOD],
    "sent twice, in two spellings": [NAME + GOOD, NAME.upper() + GOOD],
    "comma list": [NAME + GOOD + b"," + GOOD],
    "comma list with a wrong one": [NAME + b"sha256=" + b"0" * 64 + b", " + GOOD],
    "truncated": [NAME + GOOD[:20]],
    "quoted": [NAME + b'"' + GOOD + b'"'],
    "very long": [NAME + b"sha256=" + b"0" * 60_000],
    "of other bytes": [servers.signed(BODY + b" ")],
    "a plain hash": [NAME + b"sha256=" + hashlib.sha256(BODY).hexdigest().encode()],
    "another tenant's secret": [servers.signed(BODY, "another tenant")],
    "a retired secret": [servers.signed(BODY, "retired")],
    "a bearer token, where none are configured": [BEARER],
}

# What an HTTP server takes for no request at all it answers itself; the receiver never hears of it.
REFUSED_BY_SERVER: dict[str, list[bytes]] = {
    "NUL behind": [NAME + GOOD + b"\0"],
    "NUL inside": [NAME + GOOD[:-1] + b"\0"],
    "vertical tab around": [NAME + b"\x0b" + GOOD + b"\x0b"],
    "carriage return": [NAME + GOOD + b"\rX: y"],
    "blank before the colon": [b"X-MoRAG-Signature : " + GOOD],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("signatures")


@pytest.fixture(scope="module", params=["httptools", "h11"])
def url(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    receiver = receiving.receiver_of(folder, secrets=[deliveries.SECRET, "the next one"])
    with servers.serving(receiver, http=request.param) as url:
        yield url


@pytest.mark.parametrize("lines", REFUSED.values(), ids=REFUSED)
def test_a_hostile_signature_is_401_and_leaves_nothing(url: str, folder: Path, lines: list[bytes]) -> None:
    before = receiving.counts(folder)

    answer = servers.exchange(url, servers.request_bytes(BODY, *lines))

    assert answer.status == 401
    assert answer.json["status"] == "rejected"
    assert answer.json["code"] == "bad_signature"
    assert answer.json["problems"]
    assert answer.headers["www-authenticate"] == "Bearer"
    assert deliveries.SECRET not in answer.body.decode()
    assert receiving.counts(folder) == before


@pytest.mark.parametrize("lines", REFUSED_BY_SERVER.values(), ids=REFUSED_BY_SERVER)
def test_what_is_no_http_is_400_and_leaves_nothing(url: str, folder: Path, lines: list[bytes]) -> None:
    before = receiving.counts(folder)

    assert servers.exchange(url, servers.request_bytes(BODY, *lines)).status == 400

    assert receiving.counts(folder) == before


@pytest.mark.parametrize("before", [b"", b" ", b"\t", b"  \t "])
@pytest.mark.parametrize("behind", [b"", b" ", b"\t "])
def test_blanks_around_are_the_servers_and_never_make_a_wrong_one_right(
    url: str, folder: Path, before: bytes, behind: bytes
) -> None:
    """Blanks around a value are no part of it (RFC 9110, 5.5). Both servers take those before it away; httptools
    leaves those behind it, so that the receiver refuses them."""
    name = b"X-MoRAG-Signature:" + before
    right = servers.exchange(url, servers.request_bytes(BODY, name + GOOD + behind))
    wrong = servers.exchange(url, servers.request_bytes(BODY, name + GOOD[:-1] + behind))
    other = servers.exchange(url, servers.request_bytes(BODY, name + b"sha256=" + b"0" * 64 + behind))

    assert right.status in ({200} if not behind else {200, 401})
    assert (wrong.status, other.status) == (401, 401)


def test_folded_lines_never_make_a_wrong_one_right(url: str) -> None:
    """h11 joins a header's folded lines by a blank, as RFC 9112 allows; httptools refuses them."""
    for lines, statuses in (
        (b"X-MoRAG-Signature:\r\n " + GOOD, {200, 400}),
        (NAME + GOOD + b"\r\n more", {401, 400}),
        (NAME + GOOD[:40] + b"\r\n " + GOOD[40:], {401, 400}),
    ):
        assert servers.exchange(url, servers.request_bytes(BODY, lines)).status in statuses


@pytest.mark.parametrize("secret", [deliveries.SECRET, "the next one"])
def test_each_of_several_secrets_vouches_with_the_one_answer(url: str, secret: str) -> None:
    body = deliveries.task_body()
    request = servers.request_bytes(body, servers.signed(body, secret))

    answers = [servers.exchange(url, request) for _ in range(3)]

    assert [answer.status for answer in answers] == [200] * 3
    assert [answer.body for answer in answers] == [b'{"status":"received"}', *[b'{"status":"duplicate"}'] * 2]
    assert {answer.headers["content-type"] for answer in answers} == {"application/json"}


def test_the_headers_name_may_be_spelt_as_it_likes(url: str) -> None:
    body = deliveries.task_body()
    line = servers.signed(body).replace(b"X-MoRAG-Signature", b"x-mOrAg-sIgNaTuRe")

    assert servers.exchange(url, servers.request_bytes(body, line)).status == 200


def test_a_replay_under_another_query_is_a_duplicate(url: str) -> None:
    body = deliveries.task_body()
    requests = [
        servers.request_bytes(body, servers.signed(body), target=target)
        for target in (b"/webhook", b"/webhook?x=1", b"/webhook/?x=1&y=%ff")
    ]

    answers = [servers.exchange(url, request).json["status"] for request in requests]

    assert answers == ["received", "duplicate", "duplicate"]
