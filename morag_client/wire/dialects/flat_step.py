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
    body.percent("progress_percent")
    return {**step_fields(body), "occurred_at": occurred_at}


def step_fields(fields: Fields) -> dict[str, Any]:
    """What a step says, wherever its fields stand."""
    fields.text("task_id")
    step = fields.values.get("step")
    if not isinstance(step, str):
        fields.wrong("step", "a string")
        step = ""
    status = fields.choice("status", STEP_STATUSES)
    values = fields.values
    data = as_object(values.get("data"))
    return {
        "name": step_event_name(step, status),  # type: ignore[arg-type]  # `choice` has looked
        "step": step,
        "status": status,
        "progress": percent(values.get("progress_percent")),
        "message": as_text(values.get("message")),
        "error": as_text(values.get("error_message")) or as_text(values.get("error")),
        "error_code": as_text(data.get("error_code")),
        "data": data,
        "metadata": as_object(values.get("metadata")),
    }


def check(body: Fields) -> None:
    """The guide's rules beyond the required fields: ranges and types."""
    check_range(body, "progress_percent", 100)
    for key in ("document_id", "message", "error_message"):
        body.expect(key, "a string", isinstance(body.values.get(key), str))
    for key in ("data", "metadata"):
        body.expect(key, "an object", isinstance(body.values.get(key), dict))
