"""MoRAG's endpoints, each described once: what to ask, and what the answer is."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from morag_client.api.models import Submission, TaskHistory, TaskStatus
from morag_client.errors import ApiError
from morag_client.events.payloads import Payload

Answer = TypeVar("Answer", bound=Payload)


@dataclass(frozen=True, slots=True)
class Endpoint(Generic[Answer]):
    """One request: form fields and the file to upload, if any, and what its answer is read as."""

    method: str
    path: str
    answer: type[Answer]
    fields: Mapping[str, str] | None = None
    upload: Path | None = None


def ingest_file(
    path: Path, *, webhook_url: str | None, metadata: Mapping[str, Any] | None, source_type: str | None
) -> Endpoint[Submission]:
    """`POST /api/v1/ingest/file`, as r1 and the guide have it. Without a source type the file's name tells it."""
    fields = {"source_type": source_type or _source_type(path)}
    if webhook_url is not None:
        fields["webhook_url"] = webhook_url
    if metadata is not None:
        fields["metadata"] = json.dumps(dict(metadata))
    return Endpoint("POST", "/api/v1/ingest/file", Submission, fields, path)


def status(task_id: str) -> Endpoint[TaskStatus]:
    """`GET /api/v1/status/{task_id}`."""
    return Endpoint("GET", f"/api/v1/status/{_segment(task_id)}", TaskStatus)


def history(task_id: str) -> Endpoint[TaskHistory]:
    """`GET /api/v1/status/{task_id}/history`."""
    return Endpoint("GET", f"/api/v1/status/{_segment(task_id)}/history", TaskHistory)


def _source_type(path: Path) -> str:
    family = (mimetypes.guess_type(path.name)[0] or "").partition("/")[0]
    return family if family in {"audio", "video", "image"} else "document"


def _segment(task_id: str) -> str:
    if task_id in {"", ".", ".."}:
        raise ApiError(f"{task_id!r} is no task id; take the one that MoRAG answered when the document was submitted")
    return quote(task_id, safe="")
