"""MoRAG's endpoints of tasks, each described once: what to ask, and what the answer is."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from morag_client.api.endpoint import Endpoint
from morag_client.api.models import Submission, TaskHistory, TaskStatus
from morag_client.api.releases import Release
from morag_client.api.requests import OnProgress, Request, Upload
from morag_client.api.source_types import source_type_of_file
from morag_client.api.webhooks import CorrelationValue, WebhookMaker, told_to
from morag_client.errors import ConfigurationError

_TASKS: Final[tuple[Release, ...]] = ("guide", "r1", "r2")
_STAGES: Final = "use client.stages, which this release has in its place"


def ingest_file(
    path: str | os.PathLike[str],
    *,
    webhook: WebhookMaker | None = None,
    correlation: Mapping[str, CorrelationValue] | None = None,
    webhook_url: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    source_type: str | None = None,
    document_id: str | None = None,
    collection_name: str | None = None,
    chunking_strategy: str | None = None,
    chunk_size: int | None = None,
    chunk_overlap: int | None = None,
    on_progress: OnProgress | None = None,
) -> Endpoint[Submission]:
    """Submits a file, streamed from disk; MoRAG then reports to a webhook.

    With `webhook=receiver` to a URL that is signed for this submission and carries `correlation`, with `webhook_url` to
    that URL. `metadata` comes back in the events of the task. `source_type` is `document`, `audio`, `video` or `image`,
    by default as the file's name says. `on_progress(sent_bytes, total_bytes)` hears of the upload. r1 knows no
    `document_id` of its own, there it goes into the metadata; the options after it are r2's.
    Raises OSError for a file that cannot be read, ConfigurationError, and ApiError.
    """
    file = Path(path)
    target = told_to(webhook, correlation, webhook_url)
    upload = Upload(path=file, on_progress=on_progress)
    said: dict[str, Any] = {"source_type": source_type or source_type_of_file(file.name)}
    if target is not None:
        said["webhook_url"] = target.url
    options = _given(
        collection_name=collection_name,
        chunking_strategy=chunking_strategy,
        chunk_size=chunk_size,
        chunk_overlap=chunk_overlap,
    )
    known = dict(metadata or {})
    in_fields = {**known, **_given(document_id=document_id)}
    fields = {**said, **({"metadata": json.dumps(in_fields)} if metadata is not None or in_fields else {})}
    stated = {**said, **_given(document_id=document_id), **options, **({"metadata": known} if metadata else {})}
    in_form = Request(method="POST", path="/api/v1/ingest/file", fields=fields, upload=upload)
    in_json = Request(
        method="POST",
        path="/api/v1/ingest/file",
        fields={"request_data": json.dumps(stated, ensure_ascii=False)},
        upload=upload,
    )
    older = f"{', '.join(options)} cannot be said to this release, r2 is the first to take it"
    return Endpoint(
        name="ingest_file",
        answer=Submission,
        requests={"guide": in_form, "r1": in_form, "r2": in_json},
        refusals={"guide": older, "r1": older} if options else {},
        instead=_STAGES,
    )


def status(task_id: str) -> Endpoint[TaskStatus]:
    """How a task stands."""
    return _asked("status", f"/api/v1/status/{segment(task_id)}", TaskStatus)


def history(task_id: str) -> Endpoint[TaskHistory]:
    """What happened to a task so far, newest first."""
    return _asked("history", f"/api/v1/status/{segment(task_id)}/history", TaskHistory)


def segment(task_id: str) -> str:
    """An id as a part of a path. Raises ConfigurationError for what is none."""
    if task_id in {"", ".", ".."}:
        raise ConfigurationError(
            f"{task_id!r} is no task id; take the one that MoRAG answered when the document was submitted"
        )
    return quote(task_id, safe="")


def _asked(name: str, path: str, answer: type[Any]) -> Endpoint[Any]:
    request = Request(method="GET", path=path)
    return Endpoint(name=name, answer=answer, requests=dict.fromkeys(_TASKS, request), instead=_STAGES)


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
