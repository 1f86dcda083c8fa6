"""Tokens of signed URLs are taken out of what is kept, however MoRAG repeats them; all else stays."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, strategies as st

from morag_client.wire.delivery import Delivery
from morag_client.wire.redaction import redacted, redacted_bytes, redacted_text
from morag_client.wire.signed_url import Claims, UrlSigner

TOKEN = UrlSigner([b"key"]).sign(Claims({"ref": "0123456789abcdef01234567", "tenant": "acme"}))
URL = f"https://app.example.com/morag/webhook/{TOKEN}"


def escaped(text: str) -> str:
    return "".join(f"\\u{ord(letter):04x}" for letter in text)


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        (f'{{"metadata":{{"webhook_url":"{URL}"}}}}', '{"metadata":{"webhook_url":"https://app.example.com/morag/webhook/REDACTED"}}'),
        (f'["{URL}?x=1", "{URL}#a", "{URL}"]', '["{0}?x=1", "{0}#a", "{0}"]'.replace("{0}", "https://app.example.com/morag/webhook/REDACTED")),
        (f'{{"{TOKEN}": "ü {TOKEN}\\u00fc"}}', '{"REDACTED": "ü REDACTED\\u00fc"}'),
        (f"POST https%3A%2F%2Fapp%2Fwebhook%2F{TOKEN} failed", "POST https%3A%2F%2Fapp%2Fwebhook%2FREDACTED failed"),
        (f'"https:\\/\\/app\\/webhook\\/{TOKEN}"', '"https:\\/\\/app\\/webhook\\/REDACTED"'),
        (f'"{escaped(TOKEN)}"', '"REDACTED"'),
        (f'"{escaped(TOKEN).upper().replace("U", "u")}"', '"REDACTED"'),
        (f'"{TOKEN[:9]}{escaped(TOKEN[9])}{TOKEN[10:]}"', '"REDACTED"'),
        (f'"\\\\{escaped(TOKEN)}"', '"\\\\REDACTED"'),
        (f"not json {TOKEN[:-3]}", "not json REDACTED"),
    ],
)  # fmt: skip
def test_a_token_is_taken_out_wherever_it_stands(body: str, kept: str) -> None:
    assert redacted_bytes(body.encode()).decode() == kept


@pytest.mark.parametrize(
    "body",
    [
        b'{"note":"morag-w1.pdf, morag-client, morag-w1."}',
        b'{"a":"\\u00fc\\u0041\\\\u006dorag"}',
        b"\xff\xfe",
        b"",
        json.dumps(escaped(TOKEN)).encode(),  # backslashes, and letters that are no escapes
    ],
)
def test_all_else_stays(body: bytes) -> None:
    assert redacted_bytes(body) == body


@given(st.text(), st.text(), st.booleans())
def test_no_json_keeps_one(before: str, after: str, ascii_only: bool) -> None:
    body = json.dumps({"a": f"{before} {TOKEN} {after}"}, ensure_ascii=ascii_only).encode("utf-8", "replace")

    kept = redacted_bytes(body)

    assert TOKEN.encode() not in kept
    assert TOKEN not in json.loads(kept)["a"]


def test_a_delivery_keeps_none_anywhere() -> None:
    delivery = Delivery(
        body=f'"{URL}"'.encode(),
        headers=((b"user-agent", b"MoRAG"), (b"x-request-id", TOKEN.encode())),
        path=f"/morag/webhook/{TOKEN}",
        query=f"next={URL}&b=\xe9",
        token=TOKEN,
    )

    kept = redacted(delivery)

    assert kept == Delivery(
        body=b'"https://app.example.com/morag/webhook/REDACTED"',
        headers=((b"user-agent", b"MoRAG"), (b"x-request-id", b"REDACTED")),
        path="/morag/webhook/REDACTED",
        query="next=https://app.example.com/morag/webhook/REDACTED&b=\xe9",
    )
    assert TOKEN not in repr(Delivery(b"", token=TOKEN))
    assert redacted(kept) is kept


@pytest.mark.parametrize("place", ["path", "query", "token"])
def test_a_token_in_one_place_only_is_seen(place: str) -> None:
    assert TOKEN not in str(redacted(Delivery(b"{}", **{place: TOKEN})).__getattribute__(place))


def test_text_without_one_is_the_same() -> None:
    text = "morag-client \ud800"
    assert redacted_text(text) is text or redacted_text(text) == text


@pytest.mark.parametrize(
    "part", [b"\\", b"\\\\", b"\\u006d", b"\\u00fc", b"\\u0041\\\\", b"morag-w1.", b"morag-", b"morag-w1.a "]
)
def test_a_long_body_takes_no_longer_than_its_length(part: bytes) -> None:
    body = part * (1024 * 1024 // len(part)) + b"\\u0041"

    started = time.perf_counter()
    redacted_bytes(body)

    assert time.perf_counter() - started < 2.0  # a square of the length would be hours
