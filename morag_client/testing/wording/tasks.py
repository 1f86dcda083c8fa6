"""Dialects 1 to 4: the guide's and those of r1 and r2, which speak of tasks and steps."""

from __future__ import annotations

from collections.abc import Callable

from morag_client.events.names import guide_event_type
from morag_client.events.types import Dialect
from morag_client.testing import bodies
from morag_client.testing.bodies import Json
from morag_client.testing.wording.telling import Telling, Words


def envelope(told: Telling) -> Words | None:
    moment = told.moment
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
    return Words(moment.name, "envelope", bodies.envelope(guide_event_type(moment.name), now=told.now, data=data))


def enveloped_step(told: Telling) -> Words | None:
    return _step(told, "enveloped_step", bodies.enveloped_step)


def flat_step(told: Telling) -> Words | None:
    return _step(told, "flat_step", bodies.flat_step)


def ingest_result(told: Telling) -> Words | None:
    moment = told.moment
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


def _step(told: Telling, dialect: Dialect, body: Callable[..., Json]) -> Words | None:
    moment = told.moment
    if moment.step is None:
        return envelope(told)
    fields = {
        "task_id": moment.task_id,
        "document_id": moment.document_id,
        "step": moment.step,
        "status": moment.status,
        "progress_percent": moment.progress,
        "data": moment.data,
        "error_message": moment.error,
    }
    return Words(moment.name, dialect, body(now=told.now, fields=fields))
