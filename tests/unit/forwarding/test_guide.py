"""`format="morag"`: the words of the guide, whatever the release."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from morag_client import Event, TaskResult, parse_event, validate_webhook
from morag_client.forwarding.guide import guide_object
from morag_client.forwarding.messages import message_of

BODIES = sorted((Path(__file__).parents[2] / "bodies").rglob("*.json"))
RECEIVED = datetime(2026, 11, 24, 1, 2, 3, tzinfo=UTC)
ENVELOPED = {"envelope", "enveloped_step", "flat_step", "ingest_result"}
KEPT = ("name", "task_id", "document_id", "step", "status", "progress", "message", "error", "error_code")


def passed_on(event: Event) -> Event:
    message = message_of(guide_object(event, RECEIVED))
    assert message is not None
    return parse_event(message.body)


@pytest.mark.parametrize("path", BODIES, ids=lambda path: path.stem)
def test_whoever_reads_the_guide_reads_the_same_event(path: Path) -> None:
    sent = parse_event(path.read_bytes())

    read = passed_on(sent)

    assert {name: getattr(read, name) for name in KEPT} == {name: getattr(sent, name) for name in KEPT}
    assert (read.result or TaskResult()) == (sent.result or TaskResult())
    assert read.metadata == sent.metadata
    if sent.dialect in ENVELOPED:
        assert read.dialect == ("enveloped_step" if sent.step else "envelope")
        assert read.occurred_at == (sent.occurred_at or RECEIVED)
        assert validate_webhook(guide_object(sent, RECEIVED)) == []
    else:
        assert read.raw == sent.raw
    if sent.step:
        assert read.data == sent.data


def test_what_the_application_signed_into_the_url_goes_with_it_and_what_only_the_url_says() -> None:
    sent = parse_event(
        b'{"event": "pipeline_completed", "pipeline": {"success": true, "error_message": null}, "context": {},'
        b' "stages": []}'
    ).model_copy(update={"correlation": {"tenant": "acme", "ref": "0123"}})
    step = parse_event(
        b'{"task_id": "t", "step": "chunking", "status": "started", "progress_percent": 1, "document_id": null,'
        b' "timestamp": "2026-01-01T00:00:00+00:00", "new": {"a": [1, null]}}',
        url="https://app.example.com/webhook?document_id=d-7",
    )

    assert guide_object(sent, RECEIVED) == {**sent.raw, "correlation": {"tenant": "acme", "ref": "0123"}}
    assert guide_object(step, RECEIVED) == {
        "event_type": "step_started",
        "timestamp": "2026-01-01T00:00:00Z",
        "data": {
            "task_id": "t",
            "document_id": "d-7",
            "step": "chunking",
            "status": "started",
            "progress_percent": 1,
            "new": {"a": [1, None]},
        },
    }


def test_tokens_of_signed_urls_are_taken_out() -> None:
    token = "morag-w1." + "a" * 40 + "." + "b" * 43
    sent = parse_event(b'{"new": {"webhook_url": "https://x/webhook/%s"}, "morag": "ok"}' % token.encode())

    assert passed_on(sent).raw == {"new": {"webhook_url": "https://x/webhook/REDACTED"}, "morag": "ok"}
