"""What MoRAG answered when it was asked how a task stands: the one body that does not come by webhook.

It is made by `made_body`, stored like a delivery's, and read back by `read_answered`. No delivery is read like this,
so that no sender can pass for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from pydantic_core import to_json

from morag_client.errors import InvalidPayload
from morag_client.wire.fields import Json, as_number, as_object, as_text, as_time, percent
from morag_client.wire.identity import SIZE
from morag_client.wire.parsing import Reading
from morag_client.wire.redaction import redacted_bytes

NAMES: Final = ("task.started", "task.progress", "task.completed", "task.failed", "task.cancelled", "task.lost")
DIALECT: Final = "answer"
SOURCE: Final = "reconcile"
MADE: Final = "reconciled"
"""The one key of such a body."""


class Answered(NamedTuple):
    """An event that is made of what MoRAG answered; progress is in percent, times are aware.

    `answer` is what else it said, as it said it; `known` is after how many of the task's events it was asked.
    """

    name: str
    task_id: str
    known: int
    progress: float | None = None
    occurred_at: datetime | None = None
    message: str | None = None
    error: str | None = None
    result: Mapping[str, Any] | None = None
    document_id: str | None = None
    correlation: Mapping[str, str] | None = None
    answer: Mapping[str, Any] | None = None


def made_body(answered: Answered) -> bytes:
    """The body that is stored for it, a JSON object."""
    said = {key: value for key, value in answered._asdict().items() if value is not None}
    # MoRAG repeats the URL that it posts to here, too.
    return redacted_bytes(to_json({MADE: said}, inf_nan_mode="null", fallback=str))


def made_identity(answered: Answered, *, tenant: str) -> bytes:
    """The 16-byte identity of such an event: whoever is told the same of a task makes the same record.

    Times do not count, since MoRAG tells of some anew with each answer. A task can be lost more than once, each time
    after other events.
    """
    after = answered.known if answered.name == "task.lost" else None
    told = (tenant, answered.task_id, answered.name, after, answered.progress, answered.error, answered.result)
    return hashlib.blake2b(b"answer" + to_json(told, inf_nan_mode="null", fallback=str), digest_size=SIZE).digest()


def read_answered(payload: Json) -> Reading:
    """What a stored answer says, as an event's fields. Raises InvalidPayload for what was not made by `made_body`."""
    said = as_object(payload.get(MADE))
    name, task_id = said.get("name"), as_text(said.get("task_id"))
    if name not in NAMES or task_id is None:
        raise InvalidPayload("it is no answer of MoRAG's that was stored here")
    result = said.get("result")
    fields: dict[str, Any] = {
        "name": name,
        "status": name.rpartition(".")[2],
        "progress": percent(said.get("progress")),
        "occurred_at": as_time(said.get("occurred_at")),
        "message": as_text(said.get("message")),
        "error": as_text(said.get("error")),
        "result": result,
        "metadata": as_object(as_object(result).get("metadata")),
        "correlation": {key: value for key, value in as_object(said.get("correlation")).items() if as_text(value)},
        "source": SOURCE,
        "dialect": DIALECT,
        "raw": payload,
        "task_id": task_id,
        "document_id": as_text(said.get("document_id")),
        "known": as_number(said.get("known")),
    }
    return Reading(fields, stated_task_id=task_id)
