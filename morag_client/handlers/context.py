"""What a handler may know beside the event."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from morag_client.events.types import Event


@dataclass(frozen=True, slots=True)
class Context:
    """Asked for by annotation: `async def index(event: Event, context: Context)`.

    `record_id` names the stored record, `attempt` counts this handler's attempts at it from 1, `received_at` is
    when the delivery arrived (UTC), `sequence` the event's place among those of its task from 1 (None without a
    task), `is_late` whether the task was already past it when it arrived, `task` the state of the task with this
    event in it (None without a task), `body` the bytes as they came, but for tokens of signed URLs. `receiver` is
    the Receiver that runs the handler.
    """

    event: Event
    record_id: int
    attempt: int
    received_at: datetime
    sequence: int | None
    is_late: bool
    task: Any
    body: bytes = field(repr=False)
    receiver: Any = field(repr=False)
