"""Who vouches for a delivery (decision 3): present must verify, missing needs another configured kind."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from morag_client.errors import AuthenticationError, ConfigurationError, SignatureError
from morag_client.wire.authentication import Credentials, Tenant, authenticate, bearer_keys
from morag_client.wire.delivery import Delivery
from morag_client.wire.signature import secret_keys, sign

BODY = b"{}"
SIGNED = Credentials(signature_keys=secret_keys(["new", "old"]))
BEARER = Credentials(bearer_tokens=bearer_keys(["token-1", "token-2"]))
BOTH = Credentials(signature_keys=secret_keys(["new"]), bearer_tokens=bearer_keys(["token-1"]))


def delivery(*headers: tuple[str, str | bytes], body: bytes = BODY) -> Delivery:
    encoded = tuple((name.encode(), value.encode() if isinstance(value, str) else value) for name, value in headers)
    return Delivery(body, encoded)


def signature(secret: str, body: bytes = BODY) -> tuple[str, str]:
    return "x-morag-signature", sign(body, secret)


def bearer(token: str) -> tuple[str, str]:
    return "authorization", f"Bearer {token}"


@pytest.mark.parametrize("secret", ["new", "old"])
def test_a_signature_vouches(secret: str) -> None:
    assert authenticate(delivery(signature(secret)), SIGNED) == "signature"


def test_a_missing_signature_is_401() -> None:
    with pytest.raises(SignatureError, match="missing"):
        authenticate(delivery(), SIGNED)
    with pytest.raises(SignatureError, match="missing"):
        authenticate(delivery(bearer("token-1")), SIGNED)  # bearer tokens are no configured kind


@pytest.mark.parametrize("bad", ["", "sha256=", "x", sign(BODY, "retired"), sign(BODY, "another tenant")])
def test_a_signature_that_is_present_must_verify_even_with_a_good_bearer(bad: str) -> None:
    with pytest.raises(SignatureError):
        authenticate(delivery(("x-morag-signature", bad), bearer("token-1")), BOTH)


def test_a_missing_signature_leaves_it_to_the_bearer() -> None:
    assert authenticate(delivery(bearer("token-1")), BOTH) == "bearer"
    with pytest.raises(AuthenticationError) as caught:
        authenticate(delivery(), BOTH)
    assert caught.value.status == 401
    assert "X-MoRAG-Signature" in str(caught.value)
    assert "Bearer" in str(caught.value)


def test_a_good_signature_needs_no_good_bearer() -> None:
    assert authenticate(delivery(signature("new"), bearer("wrong")), BOTH) == "signature"


def test_a_signature_sent_twice_is_401_even_where_both_are_good() -> None:
    with pytest.raises(SignatureError, match="2 times"):
        authenticate(delivery(signature("new"), signature("new")), SIGNED)
    with pytest.raises(SignatureError, match="2 times"):
        authenticate(delivery(signature("new"), signature("old"), bearer("token-1")), BOTH)


def test_a_comma_list_is_401() -> None:
    with pytest.raises(SignatureError):
        authenticate(delivery(("x-morag-signature", f"{sign(BODY, 'new')},{sign(BODY, 'new')}")), SIGNED)


def test_any_configured_token_vouches() -> None:
    for token in ("token-1", "token-2"):
        assert authenticate(delivery(bearer(token)), BEARER) == "bearer"
    assert authenticate(delivery(("authorization", "bearer token-1")), BEARER) == "bearer"
    assert authenticate(delivery(("x-morag-signature", "nobody looks"), bearer("token-1")), BEARER) == "bearer"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer  token-1",
        "Bearer token-1 ",
        "Bearer token-1,token-2",
        "Bearer token-3",
        "Bearer token",
        "Bearer token-11",
        "Basic token-1",
        "token-1",
        "Bearertoken-1",
        "Bearer\ttoken-1",
        b"Bearer \xff",
        b"Bearer token-1\x00",
    ],
)
def test_any_other_authorization_is_401(value: str | bytes) -> None:
    with pytest.raises(AuthenticationError) as caught:
        authenticate(delivery(("authorization", value)), BEARER)
    assert "token-1" not in str(caught.value)


def test_authorization_sent_twice_is_401() -> None:
    with pytest.raises(AuthenticationError):
        authenticate(delivery(bearer("token-1"), bearer("token-1")), BEARER)


def test_nothing_configured_is_401_unless_insecure_was_said() -> None:
    with pytest.raises(AuthenticationError):
        authenticate(delivery(), Credentials())
    assert authenticate(delivery(), Credentials(insecure=True)) == "nobody"


def test_insecure_does_not_excuse_a_bad_signature() -> None:
    credentials = Credentials(signature_keys=secret_keys("new"), insecure=True)

    with pytest.raises(SignatureError):
        authenticate(delivery(("x-morag-signature", sign(BODY, "wrong"))), credentials)


HEADERS = st.sampled_from([b"x-morag-signature", b"authorization", b"x-other"])
VALUES = st.binary(max_size=80) | st.sampled_from([b"Bearer ", b"Bearer x", b"sha256=" + b"0" * 64])


@given(st.lists(st.tuples(HEADERS, VALUES), max_size=4), st.sampled_from([SIGNED, BEARER, BOTH, Credentials()]))
def test_no_made_up_headers_get_in(headers: list[tuple[bytes, bytes]], credentials: Credentials) -> None:
    with pytest.raises(AuthenticationError) as caught:
        authenticate(Delivery(BODY, tuple(headers)), credentials)
    assert caught.value.status == 401


def test_tenants_have_secrets_of_their_own() -> None:
    acme = Credentials.of_tenant(Tenant("acme", ["acme secret"]))
    globex = Credentials.of_tenant(Tenant("globex", ["globex secret"]))

    assert (acme.tenant, authenticate(delivery(signature("acme secret")), acme)) == ("acme", "signature")
    with pytest.raises(SignatureError):
        authenticate(delivery(signature("acme secret")), globex)


def test_tenants_can_have_bearer_tokens_instead() -> None:
    acme = Credentials.of_tenant(Tenant("acme", bearer_tokens=["acme token"]))

    assert authenticate(delivery(bearer("acme token")), acme) == "bearer"
    with pytest.raises(AuthenticationError):
        authenticate(delivery(bearer("globex token")), acme)


@pytest.mark.parametrize("name", ["", "x" * 256, "a\0b", "\ud800", 42, None])
def test_a_tenant_has_a_name(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="name"):
        Tenant(name, ["secret"])


def test_a_tenant_with_a_blank_secret_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError):
        Credentials.of_tenant(Tenant("acme", [""]))
    with pytest.raises(ConfigurationError):
        Credentials.of_tenant(Tenant("acme", []))


@pytest.mark.parametrize("tokens", [[], [""], ["good", " "], ["\u2003"], [None], ["\ud800"]])
def test_a_blank_bearer_token_is_a_configuration_error(tokens: list[str]) -> None:
    with pytest.raises(ConfigurationError):
        bearer_keys(tokens)


def test_secrets_do_not_show_in_what_is_printed() -> None:
    assert "new" not in repr(SIGNED)
    assert "token-1" not in repr(BOTH)
    assert "acme secret" not in repr(Tenant("acme", ["acme secret"]))


def test_a_delivery_finds_its_headers() -> None:
    arrived = delivery(("content-type", "application/json"), ("x-a", "1"), ("x-a", b"\xe9"))

    assert arrived.header("Content-Type") == "application/json"
    assert arrived.header("X-A") == "1, é"
    assert arrived.header("X-B") is None
    assert arrived.header_values(b"x-a") == [b"1", b"\xe9"]
