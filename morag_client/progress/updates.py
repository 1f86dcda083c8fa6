"""What is told of a task when something happened to it, and what whoever joins later is told instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from pydantic_core import from_json, to_json

from morag_client.events.names import guide_event_type, is_final
from morag_client.events.payloads import as_text
from morag_client.progress.state import TaskState, as_values, from_values

MOST_BYTES: Final = 16 * 1024
"""How large the JSON of `data`, and that of `result`, may be in a message: each of its readers may keep it waiting."""

_TIMES: Final = ("started_at", "finished_at", "updated_at")


@dataclass(frozen=True, slots=True, eq=False)
class Update:
    """A task after one more of its events. `message` is what is sent of it: flat, and ready for JSON."""

    key: bytes
    state: TaskState
    message: Mapping[str, Any] = field(repr=False)
    is_late: bool = False
    """Late events change nothing that anybody is shown; they are told to those who watch states."""

    @property
    def sequence(self) -> int:
        return self.state.sequence


def update_of(
    key: bytes, state: TaskState, fields: Mapping[str, Any], *, received_at: datetime, is_late: bool = False
) -> Update:
    """The update of an event; `fields` are those of its `Reading`, `state` is the task's with it."""
    told = fields.get
    name, error = fields["name"], told("error")
    message = {
        **_of_task(state, name),
        "message": told("message") or _words(name, error),
        "result": _bounded(told("result")) if is_final(name) else None,
        "step": told("step"),
        "stage": told("stage"),
        "status": told("status"),
        "error_message": error,
        "data": _bounded(told("data") or None),
        "timestamp": as_text(told("occurred_at") or received_at),
    }
    return Update(key, state, message, is_late)


def last_state(key: bytes, state: TaskState, *, result: Any = None) -> Update:
    """The update that says how a task is, for whoever did not see how that came; `result` is that of its end."""
    name = state.name or "unknown"
    at = state.updated_at or state.finished_at or state.started_at
    message = {
        **_of_task(state, name),
        "message": state.message or _words(name, state.error),
        "result": _bounded(result) if state.state == "completed" else None,
        "step": state.step,
        "stage": state.stage,
        "status": name.rpartition(".")[2],
        "error_message": state.error,
        "data": None,
        "timestamp": None if at is None else as_text(at),
    }
    return Update(key, state, message)


def encode(update: Update) -> bytes:
    """The update as bytes, for another process; `decode` reads them."""
    values = as_values(update.state)
    return to_json({"key": update.key.hex(), "state": values, "message": update.message, "late": update.is_late})


def decode(text: bytes) -> Update:
    """What `encode` made. Raises ValueError, KeyError or TypeError for anything else."""
    said = from_json(text)
    values = said["state"]
    for name in _TIMES:
        values[name] = values[name] and datetime.fromisoformat(values[name])
    return Update(bytes.fromhex(said["key"]), from_values(values), said["message"], bool(said["late"]))


def _of_task(state: TaskState, name: str) -> dict[str, Any]:
    return {
        "event_type": guide_event_type(name),
        "name": name,
        "task_id": state.task_id,
        "document_id": state.document_id,
        "progress_percent": state.progress,
        "state": state.state,
        "sequence": state.sequence,
    }


def _words(name: str, error: str | None) -> str:
    """What happened, where MoRAG has no words for it: `chunking completed`."""
    said = name.replace(".", " ").replace("_", " ")
    return f"{said}: {error}" if error else said


def _bounded(value: Any) -> Any:
    return None if value is None or len(to_json(value)) > MOST_BYTES else value
