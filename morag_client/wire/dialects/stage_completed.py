"""Dialect 5: r3's stage notifier. A failed stage is still `event: stage_completed`."""

from __future__ import annotations

from typing import Any, Final

from morag_client.events.names import STAGE_STATUSES, UNKNOWN, stage_name
from morag_client.wire.fields import Fields, Json, as_object, as_text, as_time

OTHER_STATUSES: Final = ("pending", "running")
"""States of a stage that no event is made of: it has not ended."""


def recognises(payload: Json) -> bool:
    return payload.get("event") == "stage_completed"


def read(body: Fields) -> dict[str, Any]:
    stage = body.object("stage")
    kind = stage.values.get("type")
    if kind is None or isinstance(kind, (dict, list, float, bool)):
        stage.wrong("type", "a stage's name or its number from 1 to 5")
    status = stage.text("status")
    values = body.values
    return {
        **stage_event(kind, status),
        "occurred_at": as_time(stage.values.get("end_time")) or as_time(values.get("timestamp")),
        "error": as_text(stage.values.get("error_message")),
        "data": {
            **{key: value for key, value in stage.values.items() if key not in {"type", "status", "error_message"}},
            **as_object(values.get("files")),
            **as_object(values.get("context")),
        },
        "metadata": as_object(values.get("metadata")),
    }


def check(body: Fields) -> None:
    stage = Fields(as_object(body.values.get("stage")), body.problems, "stage.")
    stage.expect("type", "a stage's name or its number from 1 to 5", stage_name(stage.values.get("type")) is not None)
    status, statuses = stage.values.get("status"), (*OTHER_STATUSES, *STAGE_STATUSES)
    stage.expect("status", f"one of {', '.join(statuses)}", not isinstance(status, str) or status in statuses)
    for key in ("start_time", "end_time"):
        stage.expect(key, "an ISO 8601 time", as_time(stage.values.get(key)) is not None)
    body.expect("timestamp", "an ISO 8601 time", as_time(body.values.get("timestamp")) is not None)
    for key in ("files", "context", "metadata"):
        body.expect(key, "an object", isinstance(body.values.get(key), dict))


def stage_event(kind: object, status: str) -> dict[str, Any]:
    """The name of a stage's event; `unknown` for a stage or a state that has none."""
    stage = stage_name(kind)
    if stage is None or status not in STAGE_STATUSES:
        return {"name": UNKNOWN, "stage": stage or as_text(kind), "status": as_text(status)}
    return {"name": f"stage.{stage}.{status}", "stage": stage, "status": status}
