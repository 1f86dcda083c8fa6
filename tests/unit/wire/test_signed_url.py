"""The signed part of a webhook URL: it reads as it was signed, and any other is none."""

from __future__ import annotations

import string
from datetime import UTC, datetime

import pytest
from hypothesis import given, strategies as st
from itsdangerous.url_safe import URLSafeSerializer

from morag_client.errors import AuthenticationError, ConfigurationError
from morag_client.wire import signed_url
from morag_client.wire.identity import delivery_identity
from morag_client.wire.signed_url import Claims, UrlSigner

CLAIMS = Claims({"ref": "0123456789abcdef01234567", "tenant": "acme", "document": "42"})
ALPHABET = string.ascii_letters + string.digits + "-_."
SIGNER = UrlSigner([b"key"])
TOKEN = SIGNER.sign(CLAIMS)
ids = st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=4)


def is_refused(token: str, signer: UrlSigner = SIGNER) -> bool:
    with pytest.raises(AuthenticationError) as caught:
        signer.read(token)
    return token not in str(caught.value) if len(token) > 40 else True


@given(ids, st.none() | st.integers(0, 2**40))
def test_what_was_signed_is_read(correlation: dict[str, str], expires_at: int | None) -> None:
    claims = Claims(correlation | {"ref": "r"}, expires_at)

    assert SIGNER.read(SIGNER.sign(claims)) == claims


def test_it_needs_no_escaping_anywhere_and_says_what_it_is() -> None:
    assert TOKEN.startswith("morag-w1.")
    assert set(TOKEN) <= set(ALPHABET)
    assert ".." not in UrlSigner([b"key"]).sign(Claims({"ref": "r", "long": "a" * 255}))


def test_every_changed_character_makes_it_nobodys() -> None:
    for place, letter in enumerate(TOKEN):
        for other in {"A", "b", "0", "-", "_", ".", "=", chr(ord(letter) ^ 1)} - {letter}:
            assert is_refused(TOKEN[:place] + other + TOKEN[place + 1 :]), (place, other)


def test_base64_has_no_second_spelling_for_the_last_character() -> None:
    accepted = [letter for letter in ALPHABET if not _refuses(TOKEN[:-1] + letter)]

    assert accepted == [TOKEN[-1]]


def test_every_missing_or_added_character_makes_it_nobodys() -> None:
    for place in range(len(TOKEN)):
        assert is_refused(TOKEN[:place])
        assert is_refused(TOKEN[place + 1 :])
        assert is_refused(TOKEN[:place] + TOKEN[place + 1 :])
        for more in ("A", ".", "=", "\0", "\n", "/", "%2E", "é"):
            assert is_refused(TOKEN[:place] + more + TOKEN[place:]), (place, more)


@pytest.mark.parametrize(
    "token",
    [
        *("", " ", "/", ".", "\0", "morag-w1", "morag-w1.", "morag-w1..", "morag-w1.a.b", "x" * 100_000, "é" * 50),
        *("\ud800", TOKEN + "\n", TOKEN + "=", f"{TOKEN}/", f"/{TOKEN}", TOKEN * 20, TOKEN.upper()),
        *(TOKEN.replace(".", "%2E"), TOKEN.replace("morag-w1.", ""), TOKEN.replace("w1", "p1")),
        "morag-w1." + "A" * 100_000 + "." + "A" * 43,
    ],
)
def test_what_is_none_is_refused(token: str) -> None:
    assert is_refused(token)


@given(st.text() | st.text(ALPHABET) | st.builds(lambda text: f"morag-w1.{text}", st.text(ALPHABET)))
def test_nothing_made_up_is_read(token: str) -> None:
    assert is_refused(token)


def test_the_first_key_signs_and_all_are_believed() -> None:
    old, new, both = UrlSigner([b"old"]), UrlSigner([b"new"]), UrlSigner([b"new", b"old"])

    assert both.read(old.sign(CLAIMS)) == both.read(new.sign(CLAIMS)) == CLAIMS
    assert new.read(both.sign(CLAIMS)) == CLAIMS
    assert is_refused(both.sign(CLAIMS), old)
    assert is_refused(old.sign(CLAIMS), new)


def test_another_purposes_signature_is_none() -> None:
    theirs = URLSafeSerializer(b"key", salt=b"morag-client.progress", signer_kwargs={"key_derivation": "hmac"})
    plain = URLSafeSerializer(b"key")
    claimed = {"c": dict(CLAIMS.correlation)}

    for serializer in (theirs, plain):
        assert is_refused("morag-w1." + serializer.dumps(claimed))


@pytest.mark.parametrize("claimed", [[], {}, {"c": {}}, {"c": {"tenant": "a"}}, {"c": {"ref": 5}}, "c", None])
def test_what_the_same_key_signed_and_is_no_url_is_refused(claimed: object) -> None:
    assert is_refused("morag-w1." + SIGNER._serializer.dumps(claimed))


def test_what_is_too_long_for_a_url_is_not_signed() -> None:
    fits = {str(number): "a" * 100 for number in range(11)} | {"ref": "r"}

    assert len(SIGNER.sign(Claims(fits))) <= 2048
    with pytest.raises(ConfigurationError, match="2048"):
        SIGNER.sign(Claims(fits | {"one more": "a" * 255, "another": "a" * 255}))


def test_signed_again_the_same_ids_make_the_same_delivery_and_others_another() -> None:
    def identity(claims: Claims, key: bytes) -> bytes:
        read = UrlSigner([b"new", b"old"]).read(UrlSigner([key]).sign(claims))
        return delivery_identity(tenant="", body=b"{}", claims=read.text, query="")

    turned = Claims(dict(reversed(CLAIMS.correlation.items())), int(datetime(2030, 1, 1, tzinfo=UTC).timestamp()))
    assert identity(CLAIMS, b"old") == identity(turned, b"new")
    for other in ({"tenant": "globex"}, {"ref": "f" * 24}, {"more": "1"}):
        assert identity(CLAIMS, b"old") != identity(Claims({**CLAIMS.correlation, **other}), b"old")


def test_neither_the_salt_nor_the_prefix_ever_changes() -> None:
    """URLs that were given to MoRAG are good for ever: this one was made by the first release."""
    made = (
        "morag-w1.eyJjIjp7InJlZiI6IjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2NyIsInRlbmFudCI6ImFjbWUiLCJkb2N1bWVudCI6IjQyIn19"
        ".uVTL-i4X6h6yCi_B6j5uNT8dHRg0okCEm57hGuprwfg"
    )
    assert made == TOKEN
    assert signed_url.REF == "ref"


def _refuses(token: str) -> bool:
    try:
        SIGNER.read(token)
    except AuthenticationError:
        return True
    return False
