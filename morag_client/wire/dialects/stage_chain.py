"""Dialect 8: the end of r3's chain of stages."""

from __future__ import annotations

from typing import Any

from morag_client.wire.dialects.pipeline_completed import outcome
from morag_client.wire.fields import Fields, Json, as_object, as_text, as_time


def recognises(payload: Json) -> bool:
    return payload.get("type") == "stage_chain_completion"


def read(body: Fields) -> dict[str, Any]:
    success = body.flag("success")
    values = body.values
    return {
        **outcome("chain", success=success),
        "occurred_at": as_time(values.get("timestamp")),
        "error": as_text(values.get("error_message")) or as_text(values.get("error")),
        "data": {
            key: value
            for key, value in values.items()
            if key not in {"type", "success", "timestamp", "error", "error_message", "metadata"}
        },
        "metadata": as_object(values.get("metadata")),
    }


def check(body: Fields) -> None:
    body.expect("timestamp", "an ISO 8601 time", as_time(body.values.get("timestamp")) is not None)
