"""What a format may make of an event."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from morag_client import parse_event
from morag_client.forwarding.messages import message_of

TOKEN = "morag-w1." + "a" * 40 + "." + "b" * 43


def test_an_object_is_json_also_with_what_an_event_holds() -> None:
    event = parse_event(b'{"task_id": "t", "status": "SUCCESS", "completed_at": "x", "result": {"new": 1}}')

    message = message_of({"at": datetime(2026, 1, 1, tzinfo=UTC), "result": event.result, "n": float("nan"), "é": "é"})

    assert message is not None
    assert message.content_type == "application/json"
    said = json.loads(message.body)
    assert (said["at"], said["n"], said["é"], said["result"]["new"]) == ("2026-01-01T00:00:00Z", None, "é", 1)


def test_text_and_bytes_are_sent_as_they_are() -> None:
    text, data = message_of("grüße"), message_of(b"\x00\xff")

    assert text is not None
    assert data is not None
    assert (text.body, text.content_type) == ("grüße".encode(), "text/plain; charset=utf-8")
    assert (data.body, data.content_type) == (b"\x00\xff", "application/octet-stream")


def test_none_is_no_message_and_nothing_else_is() -> None:
    assert message_of(None) is None
    assert message_of({}) is not None
    assert message_of(b"") is not None


@pytest.mark.parametrize("wrong", [7, [1], True, object()])
def test_of_anything_else_no_message_can_be_made(wrong: object) -> None:
    with pytest.raises(TypeError, match="format= made a"):
        message_of(wrong)


@pytest.mark.parametrize("said", [{"url": f"/{TOKEN}"}, f"see /{TOKEN}", f"see /{TOKEN}".encode()])
def test_tokens_are_taken_out_of_whatever_is_sent(said: object) -> None:
    message = message_of(said)

    assert message is not None
    assert b"/REDACTED" in message.body
    assert b"morag-w1" not in message.body
