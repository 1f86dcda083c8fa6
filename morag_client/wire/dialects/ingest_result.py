"""Dialect 4: what r2's and r3's Celery ingest tasks say at their end."""

from __future__ import annotations

from typing import Any, Final

from morag_client.wire.fields import Fields, Json, as_object, as_text

_NAMES: Final = {"SUCCESS": "task.completed", "FAILURE": "task.failed"}


def recognises(payload: Json) -> bool:
    status = payload.get("status")
    return isinstance(status, str) and status in _NAMES


def read(body: Fields) -> dict[str, Any]:
    name = _NAMES[body.choice("status", tuple(_NAMES))]
    body.text("task_id")
    body.text("completed_at")
    values = body.values
    result = as_object(values.get("result"))
    metadata = as_object(values.get("metadata")) or as_object(result.get("metadata"))
    failed = name == "task.failed"
    return {
        "name": name,
        "status": name.rpartition(".")[2],
        "progress": None if failed else 100.0,
        # `completed_at` is one fixed string in every body of r2 and r3: it is no time at all.
        "occurred_at": None,
        "message": as_text(values.get("message")),
        "error": (as_text(values.get("error")) or as_text(values.get("error_message")) or as_text(result.get("error")))
        if failed
        else None,
        "result": result,
        "metadata": metadata,
    }


def check(body: Fields) -> None:
    for key in ("result", "metadata"):
        body.expect(key, "an object", isinstance(body.values.get(key), dict))
    body.expect("error", "a string", isinstance(body.values.get("error"), str))
