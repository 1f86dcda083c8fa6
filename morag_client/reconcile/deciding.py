"""Which event, if any, is to be made of what MoRAG says of a task. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from morag_client.api.standing import Said
from morag_client.progress.state import TaskState
from morag_client.progress.telling import take
from morag_client.wire.answer import Answered, made_body, read_answered
from morag_client.wire.decoding import decode_object

LOST_AFTER: Final = timedelta(days=7)
"""MoRAG keeps its history for so long, and may answer `pending` for an unknown id for ever."""

_NAMES: Final = {"completed": "task.completed", "failed": "task.failed", "cancelled": "task.cancelled"}
_OPEN: Final = {"pending", "running"}


def event_of(task: TaskState, said: Said, *, now: datetime) -> Answered | None:
    """The event to be made, None where nothing is said that is not known."""
    name = _name(task, said, now=now)
    if name is None or task.task_id is None:
        return None
    is_lost = name == "task.lost"
    answered = Answered(
        name=name,
        task_id=task.task_id,
        known=task.sequence,
        progress=100.0 if name == "task.completed" else said.progress if name == "task.progress" else None,
        # What claims to come from the future says nothing.
        occurred_at=None if said.at is None or said.at > now else said.at,
        message=f"nothing was heard of it for {LOST_AFTER.days} days" if is_lost else said.message,
        error=(said.error or said.message or "it failed") if name == "task.failed" else None,
        result=said.result if name == "task.completed" else None,
        document_id=task.document_id,
        correlation=task.correlation or None,
        answer={key: value for key, value in (said.answer or {}).items() if key != "result"},
    )
    return None if _is_known(task, answered, now=now) else answered


def _name(task: TaskState, said: Said, *, now: datetime) -> str | None:
    if said.standing in _NAMES:
        return _NAMES[said.standing]
    if task.state not in _OPEN:
        return None
    if said.standing == "running" and task.state == "pending":
        return "task.started"
    if said.standing == "running" and said.progress is not None and said.progress > task.progress:
        return "task.progress"
    # Also where it is said to be running, for a week, and nothing has moved: its worker is gone.
    return "task.lost" if task.updated_at is not None and now - task.updated_at >= LOST_AFTER else None


def _is_known(task: TaskState, answered: Answered, *, now: datetime) -> bool:
    """By the very rule by which the task's owner will judge it."""
    fields = read_answered(decode_object(made_body(answered))).fields
    return take(task, fields, record_id=0, received_at=now).belongs_to is not None
