"""Dialect 2: a step inside the envelope, under any `event_type` (what the guide's consumers expect)."""

from __future__ import annotations

from typing import Any

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
    if isinstance(data, dict):
        flat_step.check(Fields(data, body.problems, "data."))
