"""A sample body for each event that MoRAG sends: what the pipeline says of the sample document."""

from __future__ import annotations

import copy
import functools
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from morag_client.events.names import STEPS
from morag_client.testing import bodies
from morag_client.testing.bodies import Json
from morag_client.testing.moments import Moment
from morag_client.testing.pipeline.running import Plan, run
from morag_client.testing.pipeline.steps import Work
from morag_client.testing.sample import sample_document
from morag_client.testing.wording import say
from morag_client.testing.wording.stages import STAGE_OF

TASK_ID: Final = "sample-task"
DOCUMENT_ID: Final = "sample-document"
WEBHOOK_URL: Final = "https://app.example/webhook"
NOW: Final = datetime(2025, 1, 1, 12, 0, tzinfo=UTC)
UNSENT: Final = ("task.cancelled", "task.lost")
"""What no webhook tells: a reconciling client finds it out."""

_ERROR: Final = "a sample of an error"
_STEP_OF: Final = {stage: step for step, stage in STAGE_OF.items()}


def sample_body(name: str) -> Json:
    """The body of an event's webhook, the same one each time, for the caller to change.

    The guide's events are in its dialects: tasks in the envelope, steps flat. Those that MoRAG does not send
    (`task.cancelled`, `task.lost`) have an empty body, as `unknown` has.
    """
    kind, _, status = name.rpartition(".")
    if name in UNSENT:
        return {}
    if kind == "task" or kind in STEPS:
        return _said(_moments(_failing(kind, status)), name, None)
    if kind in {"pipeline", "chain"}:
        dialect: Any = "pipeline_completed" if kind == "pipeline" else "stage_chain"
        return _said(_moments(_failing(kind, status)), f"task.{status}", dialect)
    if kind.startswith("stage."):
        return _stage(kind.removeprefix("stage."), status)
    return _other_step(kind, status) if kind else {}


def _failing(kind: str, status: str) -> str | None:
    if status != "failed":
        return None
    return kind if kind in STEPS else STEPS[0]


def _stage(stage: str, status: str) -> Json:
    step = _STEP_OF[stage]
    ended = "failed" if status == "failed" else "completed"
    body = _said(_moments(_failing(step, ended)), f"{step}.{ended}", "stage_completed")
    body["stage"]["status"] = status
    return body


def _other_step(step: str, status: str) -> Json:
    fields = {
        "task_id": TASK_ID,
        "document_id": DOCUMENT_ID,
        "step": step,
        "status": status,
        "progress_percent": 100.0 if status == "completed" else 0.0,
        "data": {},
        "error_message": _ERROR if status == "failed" else None,
    }
    return bodies.flat_step(now=NOW, fields=fields)


def _said(moments: dict[str, Moment], name: str, dialect: Any) -> Json:
    words = say(moments[name], dialect=dialect, now=NOW)
    assert words is not None  # noqa: S101  # each of these has words
    return copy.deepcopy(words.body)


@functools.cache
def _moments(fail_at: str | None) -> dict[str, Moment]:
    said = {"source_type": "document", "webhook_url": WEBHOOK_URL, "document_id": DOCUMENT_ID}
    document = replace(sample_document(), metadata=said)
    plan = Plan(fail_at=fail_at, progress_events=True)
    return {moment.name: moment for moment in run(Work(document, TASK_ID), clock=lambda: 0.0, plan=plan)}
