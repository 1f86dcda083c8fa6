"""`X-MoRAG-Signature`: what is not exactly the signature of these bytes by a secret in use is a 401."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest
from hypothesis import given, strategies as st

from morag_client.errors import ConfigurationError, MoragError, SignatureError
from morag_client.wire.signature import keys_of, sign, verify_signature

BODY = b'{"event_type": "task_started"}'
SECRET = "correct horse"
GOOD = "sha256=" + hmac.new(SECRET.encode(), BODY, hashlib.sha256).hexdigest()

HOSTILE: dict[str, str | bytes | None] = {
    "missing": None,
    "empty": "",
    "empty bytes": b"",
    "prefix only": "sha256=",
    "no prefix": GOOD.removeprefix("sha256="),
    "SHA256=": GOOD.replace("sha256", "SHA256"),
    "sha1=": GOOD.replace("sha256", "sha1"),
    "sha1= of its own length": "sha1=" + hmac.new(SECRET.encode(), BODY, hashlib.sha1).hexdigest(),
    "63 digits": GOOD[:-1],
    "65 digits": GOOD + "0",
    "upper-case digits": "sha256=" + GOOD.removeprefix("sha256=").upper(),
    "non-hex": GOOD[:-1] + "g",
    "non-ASCII": GOOD[:-1] + "é",
    "non-Latin": GOOD[:-1] + "ā",
    "full-width digits": "sha256=" + "\uff11" * 64,
    "lone surrogate": GOOD[:-1] + "\ud800",
    "bytes above ASCII": GOOD[:-1].encode() + b"\xff",
    "NUL": GOOD[:-1] + "\x00",
    "NUL behind": GOOD + "\x00",
    "blank before": " " + GOOD,
    "blank behind": GOOD + " ",
    "tab behind": GOOD + "\t",
    "newline behind": GOOD + "\n",
    "blank inside": GOOD.replace("=", "= "),
    "comma list": f"{GOOD},{GOOD}",
    "comma list with blanks": f"{GOOD}, {GOOD}",
    "comma list with a bad one": f"sha256={'0' * 64}, {GOOD}",
    "truncated": GOOD[:20],
    "quoted": f'"{GOOD}"',
    "versioned": f"v1,{GOOD}",
    "one digit off": GOOD[:-1] + ("0" if GOOD[-1] != "0" else "1"),
    "all zero": "sha256=" + "0" * 64,
    "of other bytes": sign(BODY + b" ", SECRET),
    "of no bytes": sign(b"", SECRET),
    "plain hash without a key": "sha256=" + hashlib.sha256(BODY).hexdigest(),
    "another tenant's secret": sign(BODY, "another tenant"),
    "a retired secret": sign(BODY, "retired"),
    "very long": "sha256=" + "0" * 1_000_000,
}


def test_the_scheme_is_the_guides() -> None:
    assert sign(BODY, SECRET) == GOOD
    assert sign(BODY, SECRET.encode()) == GOOD
    verify_signature(BODY, GOOD, SECRET)
    verify_signature(BODY, GOOD.encode(), [SECRET])


@pytest.mark.parametrize("signature", HOSTILE.values(), ids=HOSTILE)
def test_every_hostile_value_is_401(signature: str | bytes | None) -> None:
    with pytest.raises(SignatureError) as caught:
        verify_signature(BODY, signature, [SECRET, "second"])

    assert (caught.value.status, caught.value.code) == (401, "bad_signature")
    assert str(caught.value)
    assert GOOD not in str(caught.value)
    assert SECRET not in str(caught.value)


def test_any_of_several_secrets_verifies_during_rotation() -> None:
    for secret in ("new", "old"):
        verify_signature(BODY, sign(BODY, secret), ["new", "old"])
        verify_signature(BODY, sign(BODY, secret), iter(["new", b"old"]))

    with pytest.raises(SignatureError):
        verify_signature(BODY, sign(BODY, "old"), ["new"])


def test_the_raw_bytes_count_not_what_they_mean() -> None:
    with pytest.raises(SignatureError):
        verify_signature(b'{"event_type":"task_started"}', GOOD, SECRET)


BLANK: dict[str, Any] = {
    "empty": "",
    "blank": "  ",
    "newline": "\n",
    "wide blank": "\u2003",
    "empty bytes": b"",
    "blank bytes": b" \t",
    "none": None,
    "a number": 5,
    "not encodable": "\ud800",
}


@pytest.mark.parametrize("secret", BLANK.values(), ids=BLANK)
def test_a_blank_secret_is_a_configuration_error(secret: Any) -> None:
    for secrets in ([secret], ["good", secret], [secret, "good"]):
        with pytest.raises(ConfigurationError):
            verify_signature(BODY, GOOD, secrets)
        with pytest.raises(ConfigurationError):
            keys_of("webhook secret", secrets)
    if secret is not None:
        with pytest.raises(ConfigurationError):
            sign(BODY, secret) if isinstance(secret, (str, bytes)) else sign(BODY, [secret])  # type: ignore[arg-type]


@pytest.mark.parametrize("secrets", ["", [], (), iter(())])
def test_no_secret_at_all_is_a_configuration_error(secrets: Any) -> None:
    with pytest.raises(ConfigurationError):
        verify_signature(BODY, GOOD, secrets)


def test_a_configuration_error_comes_before_a_look_at_the_signature() -> None:
    with pytest.raises(ConfigurationError):
        verify_signature(BODY, None, "")


def test_secrets_of_any_characters_and_length() -> None:
    for secret in ("ü", "😀", "a" * 10_000, b"\x00\xff", "with blank inside", " padded "):
        verify_signature(BODY, sign(BODY, secret), secret)

    # Bytes of an environment variable that are no UTF-8.
    verify_signature(BODY, sign(BODY, b"\xff"), b"\xff".decode("utf-8", "surrogateescape"))
    with pytest.raises(MoragError):
        verify_signature(BODY, sign(BODY, "padded"), " padded ")


@pytest.mark.parametrize(
    ("signature", "why"),
    [
        (None, "is missing"),
        ("", "is empty"),
        ("sha256=", "has 0 digits instead of 64"),
        (GOOD[:-1], "has 63 digits instead of 64"),
        (GOOD + "0", "has 65 digits instead of 64"),
        (GOOD.upper(), "does not start with sha256="),
        (GOOD[:-1] + "G", "has characters that are no lower-case hex digits"),
        (GOOD[:-1] + "ā", "has characters that no HTTP header can carry"),
        (sign(BODY, "retired"), "does not match"),
    ],
)
def test_the_reason_is_named(signature: str | None, why: str) -> None:
    with pytest.raises(SignatureError, match=f"^X-MoRAG-Signature {why}"):
        verify_signature(BODY, signature, SECRET)


@given(st.text() | st.binary() | st.text("sha256=0123456789abcdef", max_size=80))
def test_any_other_value_is_401(signature: str | bytes) -> None:
    with pytest.raises(SignatureError):
        verify_signature(BODY, signature, [SECRET, "second"])


@pytest.mark.parametrize("secret", [None, 5, [None], []])
def test_what_is_no_secret_is_a_configuration_error(secret: Any) -> None:
    with pytest.raises(ConfigurationError):
        sign(b"{}", secret)
    with pytest.raises(ConfigurationError):
        verify_signature(b"{}", "sha256=", secret)
