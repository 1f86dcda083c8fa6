"""Dialect 3: a step's fields at the top level (r2 and r3)."""

from __future__ import annotations

from typing import Any

from morag_client.events.names import STEP_STATUSES, step_event_name
from morag_client.wire.dialects.envelope import check_range
from morag_client.wire.fields import Fields, Json, as_object, as_text, percent


def recognises(payload: Json) -> bool:
    return payload.get("step") is not None


def read(body: Fields) -> dict[str, Any]:
    occurred_at = body.time("timestamp")
    body.number("progress_percent")
    return {**step_fields(body), "occurred_at": occurred_at}


def step_fields(fields: Fields) -> dict[str, Any]:
    """What a step says, wherever its fields stand."""
    task_id = fields.text("task_id")
    step = fields.values.get("step")
    if not isinstance(step, str):
        fields.wrong("step", "a string")
        step = ""
    status = fields.choice("status", STEP_STATUSES)
    values = fields.values
    data = as_object(values.get("data"))
    metadata = as_object(values.get("metadata"))
    inner = as_object(data.get("metadata"))
    return {
        "name": step_event_name(step, status),  # type: ignore[arg-type]  # `choice` has looked
        "task_id": task_id,
        "document_id": as_text(values.get("document_id"))
        or as_text(metadata.get("document_id"))
        or as_text(inner.get("document_id")),
        "step": step,
        "status": status,
        "progress": percent(values.get("progress_percent")),
        "message": as_text(values.get("message")),
        "error": as_text(values.get("error_message")),
        "error_code": as_text(data.get("error_code")),
        "data": data,
        "metadata": metadata,
    }


def check(body: Fields) -> None:
    """The guide's rules beyond the required fields: ranges and types."""
    check_range(body, "progress_percent", 100)
    for key in ("document_id", "message", "error_message"):
        body.expect(key, "a string", isinstance(body.values.get(key), str))
    for key in ("data", "metadata"):
        body.expect(key, "an object", isinstance(body.values.get(key), dict))
