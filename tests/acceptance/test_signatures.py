"""Who may deliver, over real sockets: what does not prove itself is 401 and leaves nothing behind."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import deliveries
import pytest
import receiving
import servers

from morag_client import AuthenticationError, ConfigurationError, Delivery, MoragWarning, Receiver, Registry, Tenant

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


# One kind of proof beside another -----------------------------------------------------------------------------------


def deliver(url: str, body: bytes, *lines: bytes, target: bytes = b"/webhook") -> servers.Answer:
    return servers.exchange(url, servers.request_bytes(body, *lines, target=target))


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"Authorization: Bearer tok-1", 200),
        (b"Authorization: Bearer tok-2", 200),
        (b"Authorization: bearer tok-2", 200),
        (b"Authorization: BEARER tok-2", 200),
        (b"Authorization: Bearer tok-3", 401),
        (b"Authorization: Bearer tok-", 401),
        (b"Authorization: Bearer tok-11", 401),
        (b"Authorization: Bearer TOK-1", 401),
        (b"Authorization: Bearer", 401),
        (b"Authorization: Bearer ", 401),
        (b"Authorization: tok-1", 401),
        (b"Authorization: Basic tok-1", 401),
        (b"Authorization: Bearer tok-1,tok-2", 401),
        (b"Authorization: Bearer tok-1\xe9", 401),
        (b"Authorization: Bearer tok-1\r\nAuthorization: Bearer tok-1", 401),
        (b"X-Authorization: Bearer tok-1", 401),
    ],
)
def test_bearer_tokens(tmp_path: Path, line: bytes, status: int) -> None:
    receiver = receiving.receiver_of(tmp_path, secrets=None, bearer_tokens="tok-1,tok-2")
    with servers.serving(receiver) as url:
        assert deliver(url, deliveries.task_body(), line).status == status
        assert receiving.counts(tmp_path) == (status == 200, 0)


def test_either_kind_vouches_but_a_wrong_signature_is_never_outvoted(tmp_path: Path) -> None:
    body = deliveries.task_body()
    with servers.serving(receiving.receiver_of(tmp_path, bearer_tokens=["tok-1"])) as url:
        assert deliver(url, body).status == 401
        assert deliver(url, body, BEARER, servers.signed(body, "wrong")).status == 401
        assert deliver(url, body, servers.signed(body, "wrong")).status == 401
        assert deliver(url, body, b"Authorization: Bearer wrong", servers.signed(body)).status == 200
        assert deliver(url, body, BEARER).status == 200


def test_with_bearer_tokens_alone_the_query_tells_deliveries_apart(tmp_path: Path) -> None:
    body = deliveries.unknown_body()
    with servers.serving(receiving.receiver_of(tmp_path, secrets=None, bearer_tokens=["tok-1"])) as url:
        answers = [
            deliver(url, body, BEARER, target=target).json["status"]
            for target in (b"/webhook?document=1", b"/webhook?document=2", b"/webhook?document=1")
        ]

    assert answers == ["received", "received", "duplicate"]


# Tenants --------------------------------------------------------------------------------------------------------------

SECRETS = {"acme": "of acme", "globex": "of globex"}


def tenant_of(delivery: Delivery) -> Tenant | None:
    name = delivery.header("X-Tenant") or ""
    if name == "broken":
        raise LookupError("the tenants' database is away")
    if name == "refused":
        raise AuthenticationError("this tenant has left")
    if name == "blank":
        return Tenant("blank", [" "])
    return Tenant(name, [SECRETS[name], f"{SECRETS[name]}, once"]) if name in SECRETS else None


async def tenant_of_later(delivery: Delivery) -> Tenant | None:
    await asyncio.sleep(0)
    return tenant_of(delivery)


class Tenants:
    async def __call__(self, delivery: Delivery) -> Tenant | None:
        return tenant_of(delivery)


@pytest.fixture(params=[tenant_of, tenant_of_later, Tenants()], ids=["plain", "async", "object"])
def tenants_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with servers.serving(receiving.receiver_of(tmp_path, secrets=request.param)) as url:
        yield url


def test_two_tenants_sending_the_same_bytes_are_two_records(tenants_url: str, tmp_path: Path) -> None:
    answers = [
        deliver(tenants_url, BODY, b"X-Tenant: " + name.encode(), servers.signed(BODY, SECRETS[name])).json["status"]
        for name in ("acme", "globex", "acme")
    ]
    once = deliver(tenants_url, BODY, b"X-Tenant: acme", servers.signed(BODY, "of acme, once"))

    assert answers == ["received", "received", "duplicate"]
    assert once.json["status"] == "duplicate"
    assert sorted(receiving.query(tmp_path, "SELECT tenant FROM webhook_events")) == [("acme",), ("globex",)]


def test_a_tenant_is_believed_by_no_other_secret_than_its_own(tenants_url: str, tmp_path: Path) -> None:
    for name, secret, status in (
        ("acme", "of globex", 401),
        ("nobody", "of acme", 401),
        ("", "of acme", 401),
        ("refused", "of acme", 401),
        ("broken", "of acme", 503),
        ("blank", " ", 503),
    ):
        line = NAME + b"0" * 64 if secret == " " else servers.signed(BODY, secret)
        answer = deliver(tenants_url, BODY, b"X-Tenant: " + name.encode(), line)
        assert answer.status == status, name
        assert "database is away" not in answer.body.decode()

    assert receiving.counts(tmp_path) == (0, 0)


# Nothing configured ---------------------------------------------------------------------------------------------------


def test_nothing_configured_is_no_receiver_and_names_the_choices(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        receiving.receiver_of(tmp_path, secrets=None)

    for choice in ("secrets=", "MORAG_WEBHOOK_SECRET", "bearer_tokens=", "MORAG_BEARER_TOKENS", "insecure=True"):
        assert choice in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("given", [{"secrets": ""}, {"secrets": [" "]}, {"bearer_tokens": ["a", ""]}, {"secrets": []}])
@pytest.mark.parametrize("insecure", [True, False])
def test_a_blank_secret_is_refused_at_the_start_even_if_everybody_is_believed(
    tmp_path: Path, given: dict[str, Any], insecure: bool
) -> None:
    with pytest.raises(ConfigurationError, match="blank"):
        receiving.receiver_of(tmp_path, insecure=insecure, **{"secrets": None, **given})


def test_insecure_has_to_be_said_and_warns_each_time(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.warns(MoragWarning, match="insecure=True") as caught:
            receiver = receiving.receiver_of(tmp_path, secrets=None, insecure=True)
        assert caught[0].filename == receiving.__file__

    body = deliveries.task_body()
    with servers.serving(receiver) as url:
        assert deliver(url, body).status == 200
        assert deliver(url, body, servers.signed(body, "anything")).json["status"] == "duplicate"
        assert deliver(url, body, target=b"/webhook?x=1").json["status"] == "received"


def test_insecure_beside_a_secret_still_refuses_a_wrong_signature(tmp_path: Path) -> None:
    body = deliveries.task_body()
    with pytest.warns(MoragWarning, match="are not required"):
        receiver = receiving.receiver_of(tmp_path, insecure=True)
    with servers.serving(receiver) as url:
        assert deliver(url, body, servers.signed(body, "wrong")).status == 401
        assert deliver(url, body).status == 200


def test_no_secret_is_stored_or_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    canary = "s3cret-canary"
    body, odd = deliveries.task_body(message=canary), b'{"event_type": "task_started", "note": "%s"}' % canary.encode()
    receiver = receiving.receiver_of(tmp_path, secrets=canary, bearer_tokens=canary, registry=Registry())
    proofs = (f"Authorization: Bearer {canary}".encode(), b"Cookie: session=" + canary.encode())
    with caplog.at_level(logging.DEBUG), servers.serving(receiver) as url:
        assert deliver(url, body, servers.signed(body, canary), *proofs).status == 200
        assert deliver(url, odd, servers.signed(odd, canary), *proofs).status == 422
        assert deliver(url, body, servers.signed(body, canary + "x"), *proofs).status == 401
        assert deliver(url, body, proofs[0] + b"x").status == 401

    signatures = {deliveries.sign(sent, canary).removeprefix("sha256=") for sent in (body, odd)}
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert stored.count(canary.encode()) == 2  # in the two bodies, and nowhere else
    assert canary not in caplog.text  # not even of the bodies
    for signature in signatures:
        assert signature not in caplog.text
        assert signature.encode() not in stored
    headers = [json.loads(row[0]) for row in receiving.query(tmp_path, "SELECT headers FROM webhook_events")]
    assert headers == [{"content-type": "application/json"}]
    assert canary not in repr(receiver.settings) + repr(vars(Receiver))
