"""Dialect 2: a step inside the envelope, under any `event_type` (what the guide's consumers expect)."""

from __future__ import annotations

from typing import Any

from morag_client.events.names import STEP_STATUSES
from morag_client.wire.dialects import flat_step
from morag_client.wire.fields import Fields, Json


def recognises(payload: Json) -> bool:
    data = payload.get("data")
    return payload.get("event_type") is not None and isinstance(data, dict) and data.get("step") is not None


def read(body: Fields) -> dict[str, Any]:
    occurred_at = body.time("timestamp")
    return {**flat_step.step_fields(body.object("data")), "occurred_at": occurred_at}


def check(body: Fields) -> None:
    data = body.values.get("data")
    if not isinstance(data, dict):
        return
    flat_step.check(Fields(data, body.problems, "data."))
    event_type, status = body.values.get("event_type"), data.get("status")
    told = event_type.rpartition("_")[2] if isinstance(event_type, str) else ""
    if told in STEP_STATUSES and status in STEP_STATUSES and told != status:
        body.problems.append(f"event_type {event_type!r} is inconsistent with data.status {status!r}")
