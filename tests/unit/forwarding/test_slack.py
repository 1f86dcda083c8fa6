"""`format="slack"`: what Slack takes, and nothing that it would act on."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from morag_client import Event, parse_event
from morag_client.forwarding.slack import slack_message

BODIES = sorted((Path(__file__).parents[2] / "bodies").rglob("*.json"))
RECEIVED = datetime(2026, 11, 24, 1, 2, 3, tzinfo=UTC)
HOSTILE = "<!channel> <@U1|you> <https://evil.test|here> *b* `c` @here :tada: & \x00\x1b[31m\u202e \n> " + "😀<" * 5000


def texts(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The text objects of a message."""
    found = []
    for block in message["blocks"]:
        found += [block["text"]] if "text" in block else []
        found += block.get("fields", []) + block.get("elements", [])
    return found


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def complaints(message: dict[str, Any]) -> list[str]:
    """What Slack would refuse, or act on, in a message; the limits are those of its Block Kit reference."""
    limits = {"header": 150, "section": 3000, "context": 3000}
    found = [] if 1 <= len(message["blocks"]) <= 50 else ["blocks"]
    found += [] if 0 < units(message["text"]) <= 3000 else ["text"]
    found += [] if len(json.dumps(message, ensure_ascii=False)) < 16_000 else ["size"]
    for block in message["blocks"]:
        fields = block.get("fields", [])
        found += ["fields"] if len(fields) > 10 or any(units(one["text"]) > 2000 for one in fields) else []
        if "text" in block and units(block["text"]["text"]) > limits[block["type"]]:
            found.append(block["type"])
    for text in texts(message):
        found += [] if text["type"] == "plain_text" and text["emoji"] is False and text["text"].strip() else ["kind"]
    for text in [message["text"], *(text["text"] for text in texts(message))]:
        left = text.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")
        found += ["control characters"] if set("<>&\x00\x1b\u202e") & set(left) else []
    return found


@pytest.mark.parametrize("path", BODIES, ids=lambda path: path.stem)
def test_every_event_makes_a_message_that_slack_takes(path: Path) -> None:
    event = parse_event(path.read_bytes())

    message = slack_message(event, RECEIVED)

    assert complaints(message) == []
    assert event.name in message["blocks"][0]["text"]["text"]
    assert event.name in message["text"]


def test_a_failure_says_of_what_and_why() -> None:
    event = parse_event(
        b'{"task_id": "t-1", "document_id": "d-1", "step": "chunking", "status": "failed", "progress_percent": 60,'
        b' "timestamp": "2026-01-01T00:00:00Z", "error_message": "1 < 2 & 3", "data": {"error_code": "NO_TEXT"}}'
    ).model_copy(update={"correlation": {"tenant": "acme", "ref": "0123"}})

    message = slack_message(event, RECEIVED)

    assert [text["text"] for text in texts(message)] == [
        "❌ chunking.failed",
        "Document: d-1",
        "Task: t-1",
        "Step: chunking",
        "Progress: 60 %",
        "Code: NO_TEXT",
        "tenant: acme",
        "1 &lt; 2 &amp; 3",
        "MoRAG, 2026-01-01T00:00:00Z",
    ]
    assert message["text"] == "❌ chunking.failed · d-1 · 1 &lt; 2 &amp; 3"
    assert (message["mrkdwn"], message["unfurl_links"], message["unfurl_media"]) == (False, False, False)


def hostile(text: str) -> Event:
    given = {
        "name": f"{text[:100]}.failed",
        "task_id": text,
        "document_id": text,
        "step": text,
        "error": text,
        "error_code": text,
        "correlation": {f"{text[:20]}{number}": text for number in range(16)},
    }
    return parse_event(b'{"a": 1}').model_copy(update=given)


def test_foreign_text_mentions_nobody_and_formats_nothing() -> None:
    message = slack_message(hostile(HOSTILE), RECEIVED)

    assert complaints(message) == []
    assert "&lt;!channel&gt;" in message["text"]
    # the test can see
    spoilt = {**message, "text": message["text"].replace("&lt;", "<")}
    assert complaints(spoilt) == ["control characters"]


@settings(max_examples=150, deadline=None)
@given(st.text(min_size=1), st.sampled_from([1, 40, 700]))
def test_whatever_text_there_is_slack_takes_it(text: str, times: int) -> None:
    assert [what for what in complaints(slack_message(hostile(text * times), RECEIVED)) if what != "kind"] == []


def test_a_token_is_taken_out_before_anything_is_cut() -> None:
    token = "morag-w1." + "a" * 40 + "." + "b" * 43
    event = parse_event(b'{"a": 1}').model_copy(update={"name": "task.failed", "error": "x" * 2980 + f"/{token}"})

    assert "morag-w1" not in json.dumps(slack_message(event, RECEIVED))
