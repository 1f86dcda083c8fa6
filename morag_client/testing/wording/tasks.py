"""Dialects 1 to 4: the guide's and those of r1 and r2, which speak of tasks and steps."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from morag_client.events.names import guide_event_type
from morag_client.events.types import Dialect
from morag_client.testing import bodies
from morag_client.testing.bodies import Json
from morag_client.testing.moments import Moment
from morag_client.testing.wording.words import Words


def envelope(moment: Moment, now: datetime) -> Words | None:
    if moment.step is not None:
        return None
    data = {
        "task_id": moment.task_id,
        "status": moment.status,
        "progress": moment.progress / 100 if moment.status == "progress" else None,
        "message": moment.message,
        "result": moment.result,
        "error": moment.error,
        "error_details": moment.error_details,
        "metadata": moment.metadata,
    }
    return Words(moment.name, "envelope", bodies.envelope(guide_event_type(moment.name), now=now, data=data))


def enveloped_step(moment: Moment, now: datetime) -> Words | None:
    return _step(moment, now, "enveloped_step", bodies.enveloped_step)


def flat_step(moment: Moment, now: datetime) -> Words | None:
    return _step(moment, now, "flat_step", bodies.flat_step)


def ingest_result(moment: Moment, _now: datetime) -> Words | None:
    if not moment.ends_task:
        return None
    body = bodies.ingest_result(
        task_id=moment.task_id,
        success=moment.status == "completed",
        result=moment.result,
        metadata=moment.metadata,
        error=moment.error,
    )
    return Words(moment.name, "ingest_result", body)


def _step(moment: Moment, now: datetime, dialect: Dialect, body: Callable[..., Json]) -> Words | None:
    if moment.step is None:
        return envelope(moment, now)
    fields = {
        "task_id": moment.task_id,
        "document_id": moment.document_id,
        "step": moment.step,
        "status": moment.status,
        "progress_percent": moment.progress,
        "data": moment.data,
        "error_message": moment.error,
    }
    return Words(moment.name, dialect, body(now=now, fields=fields))
