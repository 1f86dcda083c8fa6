"""Dialect 6: r3's pipeline notifier."""

from __future__ import annotations

from typing import Any

from morag_client.wire.fields import Fields, Json, as_object, as_text, as_time


def recognises(payload: Json) -> bool:
    return payload.get("event") == "pipeline_completed"


def read(body: Fields) -> dict[str, Any]:
    pipeline = body.object("pipeline")
    success = pipeline.flag("success")
    values = body.values
    return {
        **outcome("pipeline", success=success),
        "occurred_at": as_time(values.get("timestamp")),
        "error": as_text(pipeline.values.get("error_message")),
        "data": {
            **{key: value for key, value in pipeline.values.items() if key not in {"success", "error_message"}},
            **as_object(values.get("context")),
            "stages": values.get("stages"),
        },
        "metadata": as_object(values.get("metadata")),
    }


def check(body: Fields) -> None:
    body.expect("timestamp", "an ISO 8601 time", as_time(body.values.get("timestamp")) is not None)
    body.expect("context", "an object", isinstance(body.values.get("context"), dict))
    body.expect("stages", "an array", isinstance(body.values.get("stages"), list))


def outcome(family: str, *, success: bool) -> dict[str, Any]:
    """The name, status and progress of something that ended."""
    status = "completed" if success else "failed"
    return {"name": f"{family}.{status}", "status": status, "progress": 100.0 if success else None}
