"""The eight bodies that MoRAG's releases send, one function each: values in, an object ready for JSON out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

Json = dict[str, Any]

INGEST_COMPLETED_AT: Final = "2024-01-01T12:05:30"
"""The time in every ingest result of r2 and r3: a fixed string in their source."""


def envelope(event_type: str, *, now: datetime, data: Mapping[str, Any]) -> Json:
    """Dialect 1, around a task's life; `data` holds task_id and status. Times as in the guide, with a Z."""
    return {"event_type": event_type, "timestamp": _zulu(now), "data": _said(data)}


def enveloped_step(*, now: datetime, fields: Mapping[str, Any]) -> Json:
    """Dialect 2: a step inside the envelope. Fields as of `flat_step`; what is None is left out."""
    return {"event_type": f"step_{fields['status']}", "timestamp": _zulu(now), "data": _said(_step(fields))}


def flat_step(*, now: datetime, fields: Mapping[str, Any]) -> Json:
    """Dialect 3: a step at the top level, with explicit nulls.

    Fields: task_id, document_id, step, status, progress_percent, data, error_message.
    """
    return {**_step(fields), "timestamp": now.isoformat()}


def ingest_result(
    *,
    task_id: str,
    success: bool,
    result: Mapping[str, Any] | None,
    metadata: Mapping[str, Any] | None,
    error: str | None = None,
) -> Json:
    """Dialect 4: the end of an ingest task. Of the task's result it tells what r2 and r3 tell."""
    body: Json = {
        "task_id": task_id,
        "status": "SUCCESS" if success else "FAILURE",
        "completed_at": INGEST_COMPLETED_AT,
        "result": None,
    }
    if result is not None:
        body["result"] = {
            "chunks_processed": result.get("chunks_created"),
            "total_text_length": result.get("total_text_length"),
            "databases_used": ["qdrant", "neo4j"],
            "metadata": dict(metadata or {}),
        }
    return body if success else {**body, "error": error}


def stage_completed(
    *, stage: Mapping[str, Any], files: Mapping[str, Any], context: Mapping[str, Any], metadata: Mapping[str, Any]
) -> Json:
    """Dialect 5: a stage ended; a failed one says so in `stage.status` only."""
    return {
        "event": "stage_completed",
        "stage": dict(stage),
        "files": dict(files),
        "context": dict(context),
        "metadata": {"config_used": {}, "metrics": {}, "warnings": [], **metadata},
    }


def pipeline_completed(
    *, pipeline: Mapping[str, Any], context: Mapping[str, Any], stages: Sequence[Mapping[str, Any]]
) -> Json:
    """Dialect 6: the pipeline ended."""
    return {
        "event": "pipeline_completed",
        "pipeline": dict(pipeline),
        "context": dict(context),
        "stages": [dict(stage) for stage in stages],
    }


def stage_result(*, now: datetime, job_id: str | None, stage_type: str, success: bool, **outcome: object) -> Json:
    """Dialect 7: a stage that was asked for ended. `outcome`: output_files, execution_time, error_message."""
    return {
        "job_id": job_id,
        "stage_type": stage_type,
        "success": success,
        "status": "completed" if success else "failed",
        **outcome,
        "timestamp": naive(now),
    }


def stage_chain(*, now: datetime, success: bool, **counts: object) -> Json:
    """Dialect 8: a chain of stages ended.

    Counts: total_execution_time, stages_executed, stages_successful, stages_failed.
    """
    return {"type": "stage_chain_completion", "success": success, **counts, "timestamp": naive(now)}


def naive(moment: datetime) -> str:
    """The time without an offset, as r1 and r3 write it; they mean UTC."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat()


def _step(fields: Mapping[str, Any]) -> Json:
    names = ("task_id", "document_id", "step", "status", "progress_percent", "data", "error_message")
    return {name: fields.get(name) for name in names}


def _said(fields: Mapping[str, Any]) -> Json:
    return {key: value for key, value in fields.items() if value is not None}


def _zulu(moment: datetime) -> str:
    return f"{naive(moment)}Z"
