"""Dialect 1: `event_type`, `timestamp` and `data` around a task's life (r1, and the guide)."""

from __future__ import annotations

from typing import Any, Final

from morag_client.events.names import from_guide
from morag_client.wire.fields import Fields, Json, as_number, as_object, as_text, percent

EVENT_TYPES: Final = ("task_started", "task_progress", "task_completed", "task_failed")
_PROGRESS: Final = {"task.started": 0.0, "task.completed": 100.0}


def recognises(payload: Json) -> bool:
    event_type = payload.get("event_type")
    return isinstance(event_type, str) and event_type in EVENT_TYPES


def read(body: Fields) -> dict[str, Any]:
    name = from_guide(body.choice("event_type", EVENT_TYPES))
    occurred_at = body.time("timestamp")
    data = body.object("data")
    data.text("task_id")
    data.text("status")
    values = data.values
    details = as_object(values.get("error_details"))
    return {
        "name": name,
        "status": name.rpartition(".")[2],
        "progress": _progress(name, values),
        "occurred_at": occurred_at,
        "message": as_text(values.get("message")),
        "error": as_text(values.get("error")) or as_text(values.get("error_message")),
        "error_code": as_text(details.get("error_code")),
        "error_details": details,
        "result": values.get("result"),
        "metadata": as_object(values.get("metadata")),
    }


def check(body: Fields) -> None:
    """The guide's rules beyond the required fields: consistency, ranges and types."""
    data = Fields(as_object(body.values.get("data")), body.problems, "data.")
    event_type, status = body.values.get("event_type"), data.values.get("status")
    if isinstance(event_type, str) and isinstance(status, str) and event_type in EVENT_TYPES:
        expected = event_type.removeprefix("task_")
        if status != expected:
            body.problems.append(f"event_type {event_type!r} is inconsistent with data.status {status!r}")
    check_range(data, "progress", 1)
    check_range(data, "progress_percent", 100)
    for key in ("message", "error", "error_message"):
        data.expect(key, "a string", isinstance(data.values.get(key), str))
    for key in ("result", "metadata", "error_details", "data"):
        data.expect(key, "an object", isinstance(data.values.get(key), dict))


def check_range(fields: Fields, key: str, most: int) -> None:
    """Notes a number that is there and not within 0 to `most`."""
    number = as_number(fields.values.get(key))
    fields.expect(key, f"a number from 0 to {most}", number is not None and 0 <= number <= most)


def _progress(name: str, data: Json) -> float | None:
    fraction = as_number(data.get("progress"))
    if fraction is None:
        sent = percent(data.get("progress_percent"))
        return _PROGRESS.get(name) if sent is None else sent
    # r1 counts a task's progress from 0 to 1, the guide its steps' from 0 to 100.
    # Rounded, or 0.07 would be 7.000000000000001 %.
    return percent(round(fraction * 100, 6) if fraction <= 1 else fraction)
