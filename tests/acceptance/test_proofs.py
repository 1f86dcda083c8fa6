"""The other kinds of proof, and several beside each other: bearer tokens, tenants, and nobody at all."""

from __future__ import annotations

import asyncio
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
BEARER = b"Authorization: Bearer tok-1"
NAME = b"X-MoRAG-Signature: "


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
