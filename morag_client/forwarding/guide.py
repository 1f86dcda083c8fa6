"""`format="morag"`: an event in the words of MoRAG's guide, whichever release it came from."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from morag_client.events.names import guide_event_type
from morag_client.events.payloads import as_text
from morag_client.events.types import Event, StepEvent, TaskEvent
from morag_client.wire.answer import MADE
from morag_client.wire.fields import as_object

_ENVELOPES: Final = frozenset({"envelope", "enveloped_step"})
_FRAME: Final = frozenset({"timestamp", "completed_at", "success"})


def guide_object(event: Event, received_at: datetime) -> dict[str, Any]:
    """The event for JSON: tasks and steps in the guide's envelope, everything else as MoRAG sent it.

    What MoRAG said beside the guide's fields stays; what it said as null is left out. `correlation` stands beside
    `data`, where there is any. A time that MoRAG did not say is that of the receipt.
    """
    if isinstance(event, TaskEvent | StepEvent):
        said: dict[str, Any] = {
            "event_type": guide_event_type(event.name),
            "timestamp": as_text(event.occurred_at or received_at),
            "data": _data(event),
        }
    else:
        said = dict(event.raw)
    return said | ({"correlation": dict(event.correlation)} if event.correlation else {})


def _data(event: Event) -> dict[str, Any]:
    inside = event.raw.get("data") if event.dialect in _ENVELOPES else event.raw
    if event.source == "reconcile":  # what it was made of is nobody else's business
        inside = {
            "progress": None if event.progress is None else event.progress / 100,
            "message": event.message,
            "error": event.error,
            "result": as_object(event.raw.get(MADE)).get("result"),
        }
    data = {key: value for key, value in dict(inside or {}).items() if value is not None}
    if event.dialect not in _ENVELOPES:
        data = {key: value for key, value in data.items() if key not in _FRAME}
    result = data.get("result")
    if "metadata" not in data and isinstance(result, dict) and isinstance(result.get("metadata"), dict):
        data["metadata"] = result["metadata"]  # of r2's and r3's ingest tasks
    ids = {"task_id": event.task_id, "document_id": event.document_id}
    data = {key: value for key, value in ids.items() if value is not None} | data
    return data | {"status": event.status or event.name.rpartition(".")[2]}
