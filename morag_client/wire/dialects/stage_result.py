"""Dialect 7: r3's stage API. Of all stage bodies, the only one with an id."""

from __future__ import annotations

from typing import Any, Final

from morag_client.events.names import STAGE_STATUSES, stage_name
from morag_client.wire.dialects.stage_completed import OTHER_STATUSES, stage_event
from morag_client.wire.fields import Fields, Json, as_object, as_text, as_time

_READ: Final = frozenset(
    {"type", "job_id", "stage_type", "success", "status", "timestamp", "error", "error_message", "metadata"}
)


def recognises(payload: Json) -> bool:
    return stage_name(payload.get("stage_type")) is not None


def read(body: Fields) -> dict[str, Any]:
    values = body.values
    kind = values["stage_type"]
    success = body.flag("success")
    status = values.get("status")
    # A stage that was skipped, or is still at work, has no success either: its status says more.
    if not isinstance(status, str) or status not in {"skipped", *OTHER_STATUSES}:
        status = "completed" if success else "failed"
    return {
        **stage_event(kind, status),
        "occurred_at": as_time(values.get("timestamp")),
        "error": as_text(values.get("error_message")) or as_text(values.get("error")),
        "data": {key: value for key, value in values.items() if key not in _READ},
        "metadata": as_object(values.get("metadata")),
    }


def check(body: Fields) -> None:
    success, status = body.values.get("success"), body.values.get("status")
    known = isinstance(status, str) and status in {*STAGE_STATUSES, *OTHER_STATUSES}
    body.expect("status", f"one of {', '.join((*OTHER_STATUSES, *STAGE_STATUSES))}", known)
    if known and isinstance(success, bool) and success is not (status == "completed"):
        body.problems.append(f"status {status!r} is inconsistent with success {str(success).lower()}")
    body.expect("job_id", "a string", isinstance(body.values.get("job_id"), str))
    body.expect("timestamp", "an ISO 8601 time", as_time(body.values.get("timestamp")) is not None)
    body.expect("output_files", "an array", isinstance(body.values.get("output_files"), list))
