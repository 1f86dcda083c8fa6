"""`format="slack"`: a message for an incoming webhook of Slack.

What MoRAG says is foreign text: it stands in plain text only, with Slack's three control characters escaped, so that
it mentions nobody, links nowhere and formats nothing. Each part is bounded as Slack bounds it, or Slack would refuse
the whole message.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from morag_client.events.payloads import as_text
from morag_client.events.types import Event
from morag_client.wire.redaction import redacted_text
from morag_client.wire.signed_url import REF

_HEADER: Final = 150
_SECTION: Final = 3000
_FIELD: Final = 500
_FIELDS: Final = 10
_FALLBACK: Final = 1000
_SIGNS: Final = {"failed": "❌", "lost": "❌", "completed": "✅", "cancelled": "⏹️"}
_ESCAPES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_INVISIBLE: Final = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")


def slack_message(event: Event, received_at: datetime) -> dict[str, Any]:
    """The event as `{"text", "blocks"}`: its name, its ids, what went wrong or was said, and when."""
    sign = _SIGNS.get(event.name.rpartition(".")[2], "🔹")
    said = event.error or event.message
    blocks: list[dict[str, Any]] = [{"type": "header", "text": _plain(f"{sign} {event.name}", _HEADER)}]
    fields = [_plain(f"{label}: {value}", _FIELD) for label, value in _facts(event)][:_FIELDS]
    if fields:
        blocks.append({"type": "section", "fields": fields})
    if said and _clean(said):
        blocks.append({"type": "section", "text": _plain(said, _SECTION)})
    when = f"MoRAG, {as_text(event.occurred_at or received_at)}"
    blocks.append({"type": "context", "elements": [_plain(when, _FIELD)]})
    summary = " · ".join([f"{sign} {event.name}", *(str(part) for part in (event.document_id, said) if part)])
    return {
        "text": _bounded(summary.replace("\n", " "), _FALLBACK),
        "mrkdwn": False,
        "blocks": blocks,
        "unfurl_links": False,
        "unfurl_media": False,
    }


def _facts(event: Event) -> Iterator[tuple[str, object]]:
    known = {
        "Document": event.document_id,
        "Task": event.task_id,
        "Step": event.step,
        "Progress": None if event.progress is None else f"{event.progress:g} %",
        "Code": event.error_code,
    }
    yield from ((label, value) for label, value in known.items() if value is not None)
    yield from ((key, value) for key, value in sorted(event.correlation.items()) if key != REF)


def _plain(text: str, length: int) -> dict[str, Any]:
    return {"type": "plain_text", "text": _bounded(text, length), "emoji": False}


def _bounded(text: str, length: int) -> str:
    """The text, escaped, in at most so many units of UTF-16, as JavaScript and so perhaps Slack counts."""
    pieces = [_ESCAPES.get(character, character) for character in _clean(text)[: length + 1]]
    used = 0
    for at, piece in enumerate(pieces):
        used += len(piece.encode("utf-16-le", "replace")) // 2
        if used > length:
            return f"{_within(pieces[:at], length - 1)}…"
    return "".join(pieces)


def _within(pieces: list[str], length: int) -> str:
    while sum(len(piece.encode("utf-16-le", "replace")) // 2 for piece in pieces) > length:
        pieces = pieces[:-1]
    return "".join(pieces)


def _clean(text: str) -> str:
    """Without tokens, and without what nobody sees but what changes how the rest is seen."""
    return _INVISIBLE.sub(" ", redacted_text(text)).strip()
