"""Dialect 7: r3's stage API. Of all stage bodies, the only one with an id."""

from __future__ import annotations

from typing import Any

from morag_client.wire.dialects.stage_completed import stage_event
from morag_client.wire.fields import Fields, Json, as_object, as_text, as_time


def recognises(payload: Json) -> bool:
    return payload.get("stage_type") is not None


def read(body: Fields) -> dict[str, Any]:
    values = body.values
    kind = values["stage_type"]
    success = body.flag("success")
    skipped = success and values.get("status") == "skipped"
    status = "skipped" if skipped else "completed" if success else "failed"
    metadata = as_object(values.get("metadata"))
    return {
        **stage_event(kind, status),
        "task_id": as_text(values.get("job_id")),
        "document_id": as_text(values.get("document_id")) or as_text(metadata.get("document_id")),
        "occurred_at": as_time(values.get("timestamp")),
        "error": as_text(values.get("error_message")) or as_text(values.get("error")),
        "data": {key: values[key] for key in values.keys() & {"execution_time", "output_files"}},
        "metadata": metadata,
    }


def check(body: Fields) -> None:
    body.expect("job_id", "a string", isinstance(body.values.get("job_id"), str))
    body.expect("timestamp", "an ISO 8601 time", as_time(body.values.get("timestamp")) is not None)
    body.expect("output_files", "an array", isinstance(body.values.get("output_files"), list))
