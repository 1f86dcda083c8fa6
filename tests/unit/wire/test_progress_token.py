"""Progress tokens: what was signed comes back, whatever else is refused with a reason."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies

from morag_client.errors import AuthenticationError
from morag_client.wire.progress_token import ProgressSigner
from morag_client.wire.redaction import redacted_text
from morag_client.wire.signed_url import Claims, UrlSigner

KEYS = [b"a new key that is long enough", b"an old key that is long enough"]
SIGNER = ProgressSigner(KEYS)


@given(strategies.dictionaries(strategies.text(), strategies.text()))
def test_what_was_signed_comes_back(scope: dict[str, str]) -> None:
    assert SIGNER.read(SIGNER.sign(scope, expires_at=100), now=99.9) == scope


def test_it_ends() -> None:
    token = SIGNER.sign({"task": "42"}, expires_at=100)

    with pytest.raises(AuthenticationError, match="has expired"):
        SIGNER.read(token, now=100)


def test_keys_are_rotated() -> None:
    old = ProgressSigner(KEYS[1:]).sign({"task": "42"}, expires_at=100)

    assert SIGNER.read(old, now=0) == {"task": "42"}
    with pytest.raises(AuthenticationError, match="no configured key"):
        ProgressSigner(KEYS[:1]).read(old, now=0)


@given(strategies.data())
def test_not_one_character_can_be_changed(data: strategies.DataObject) -> None:
    token = SIGNER.sign({"task": "42"}, expires_at=100)
    place = data.draw(strategies.integers(0, len(token) - 1))
    changed = (
        token[:place] + data.draw(strategies.characters().filter(lambda one: one != token[place])) + token[place + 1 :]
    )

    with pytest.raises(AuthenticationError):
        SIGNER.read(changed, now=0)


@given(strategies.text())
def test_whatever_else_is_refused(token: str) -> None:
    with pytest.raises(AuthenticationError):
        SIGNER.read(token, now=0)


def test_a_webhook_url_is_no_token_and_the_other_way_round() -> None:
    urls = UrlSigner(KEYS)
    url_token = urls.sign(Claims({"ref": "1"}))
    token = SIGNER.sign({"task": "42"}, expires_at=100)

    with pytest.raises(AuthenticationError):
        SIGNER.read(url_token.replace("morag-w1", "morag-p1"), now=0)
    with pytest.raises(AuthenticationError):
        urls.read(token.replace("morag-p1", "morag-w1"))


def test_it_is_taken_out_of_what_is_logged() -> None:
    token = SIGNER.sign({"task": "42"}, expires_at=100)

    assert redacted_text(f"/socket.io/?token={token}&x=1") == "/socket.io/?token=REDACTED&x=1"
