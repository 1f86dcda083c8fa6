"""Webhooks as a sender would make them: bodies, each different from the last, and the headers that prove them."""

from __future__ import annotations

import itertools
import json
from typing import Any

from morag_client.events.types import Event
from morag_client.wire.delivery import Delivery
from morag_client.wire.parsing import parse_event
from morag_client.wire.signature import sign

SECRET = "correct horse"

_numbers = itertools.count(1)


def task_body(task_id: str = "task-1", status: str = "started", **data: Any) -> bytes:
    """An envelope about a task; `data` goes inside, a number makes it different from every other."""
    inside = {"task_id": task_id, "status": status, "metadata": {"number": next(_numbers)}, **data}
    return as_body({"event_type": f"task_{status}", "timestamp": "2024-01-01T10:00:00Z", "data": inside})


def step_body(task_id: str = "task-1", step: str = "chunking", status: str = "completed", **more: Any) -> bytes:
    """A flat step, as r2 and r3 send it; `more` stands beside the others."""
    fields = {"task_id": task_id, "step": step, "status": status, "progress_percent": 50.0}
    fields |= {"timestamp": "2024-01-15T10:34:00+00:00", "document_id": None, "data": {"number": next(_numbers)}}
    return as_body(fields | more)


def unknown_body(**more: Any) -> bytes:
    """An object of no known dialect, without a task."""
    return as_body({"something": "new", "number": next(_numbers), **more})


def as_body(value: object) -> bytes:
    return json.dumps(value).encode()


def event(name: str, task_id: str = "task-1") -> Event:
    """An event of a name, as it would arrive: `task.started`, `chunking.completed`, `unknown`."""
    family, _, status = name.partition(".")
    if name == "unknown":
        return parse_event(unknown_body())
    return parse_event(task_body(task_id, status) if family == "task" else step_body(task_id, family, status))


def headers(body: bytes, *, secret: str | None = SECRET, **more: str) -> dict[str, str]:
    """The headers of a signed delivery; `secret=None` leaves the signature out, `x_name="…"` is `x-name: …`."""
    given = {"content-type": "application/json"}
    if secret is not None:
        given["x-morag-signature"] = sign(body, secret)
    return given | {name.replace("_", "-"): value for name, value in more.items()}


def delivery(body: bytes, *, secret: str | None = SECRET, query: str = "", **more: str) -> Delivery:
    """What a receiver gets of a request, without a socket in between."""
    given = tuple((name.encode(), value.encode()) for name, value in headers(body, secret=secret, **more).items())
    return Delivery(body=body, headers=given, query=query)
