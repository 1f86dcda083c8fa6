"""r3's stages: what they are, running one or several, and how a job stands."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from morag_client.api.answers import Answer
from morag_client.api.endpoint import Endpoint
from morag_client.api.models import ChainRun, JobStatus, StageList, StageRun
from morag_client.api.places import segment
from morag_client.api.requests import OnProgress, Request, Upload
from morag_client.api.submitting import as_json, given
from morag_client.api.webhooks import CorrelationValue, Target, WebhookMaker, secrets_of, told_to, webhook_config
from morag_client.errors import ConfigurationError

_INSTEAD = "use ingest_file, ingest_url or process there"


def list_stages() -> Endpoint[StageList]:
    """The stages that there are. In r3 only."""
    return _in_r3("stages.list", StageList, Request(method="GET", path="/api/v1/stages/"))


def execute(
    stage: str,
    path: str | os.PathLike[str] | None = None,
    *,
    input_files: Sequence[str] | None = None,
    config: Mapping[str, Any] | None = None,
    skip_if_exists: bool | None = None,
    webhook: WebhookMaker | None = None,
    correlation: Mapping[str, CorrelationValue] | None = None,
    webhook_url: str | None = None,
    timeout_seconds: float | None = None,
    on_progress: OnProgress | None = None,
) -> Endpoint[StageRun]:
    """Runs one stage on a file of yours (`path`), or on files that stages left (`input_files`), and waits for it.

    MoRAG answers when the stage is through: `timeout_seconds` takes the place of the client's. It reports to the
    webhook as well, with the receiver's bearer token, if it has one. In r3 only.
    Raises OSError, ConfigurationError and ApiError.
    """
    stated = given(
        input_files=None if input_files is None else list(input_files),
        config=None if config is None else dict(config),
        skip_if_exists=skip_if_exists,
    )
    request = _run(
        f"/api/v1/stages/{segment(stage, what='stage')}/execute",
        stated,
        path=path,
        target=told_to(webhook, correlation, webhook_url),
        timeout_seconds=timeout_seconds,
        on_progress=on_progress,
    )
    return _in_r3("stages.execute", StageRun, request)


def chain(
    stages: Sequence[str],
    path: str | os.PathLike[str] | None = None,
    *,
    input_files: Sequence[str] | None = None,
    global_config: Mapping[str, Any] | None = None,
    stage_configs: Mapping[str, Mapping[str, Any]] | None = None,
    stop_on_failure: bool | None = None,
    skip_existing: bool | None = None,
    webhook: WebhookMaker | None = None,
    correlation: Mapping[str, CorrelationValue] | None = None,
    webhook_url: str | None = None,
    timeout_seconds: float | None = None,
    on_progress: OnProgress | None = None,
) -> Endpoint[ChainRun]:
    """Runs several stages, one after the other, and waits for all; the rest is as with `execute`. In r3 only."""
    stated = given(
        stages=list(stages),
        input_files=None if input_files is None else list(input_files),
        global_config=None if global_config is None else dict(global_config),
        stage_configs=None if stage_configs is None else {name: dict(one) for name, one in stage_configs.items()},
        stop_on_failure=stop_on_failure,
        skip_existing=skip_existing,
    )
    request = _run(
        "/api/v1/stages/chain",
        stated,
        path=path,
        target=told_to(webhook, correlation, webhook_url),
        timeout_seconds=timeout_seconds,
        on_progress=on_progress,
    )
    return _in_r3("stages.chain", ChainRun, request)


def status(job_id: str) -> Endpoint[JobStatus]:
    """How a job stands; its id is in the paths of its files (`output/{job_id}/…`). In r3 only."""
    return _in_r3(
        "stages.status", JobStatus, Request(method="GET", path="/api/v1/stages/status", query={"job_id": job_id})
    )


def _run(
    place: str,
    stated: Mapping[str, Any],
    *,
    path: str | os.PathLike[str] | None,
    target: Target | None,
    timeout_seconds: float | None,
    on_progress: OnProgress | None,
) -> Request:
    """With a file a form, whose field `request` has the JSON; without one the JSON alone."""
    if (path is None) == ("input_files" not in stated):
        raise ConfigurationError("a stage runs on a path, or on input_files=; give one of them")
    whole = {**stated, **given(webhook_config=None if target is None else webhook_config(target))}
    return Request(
        method="POST",
        path=place,
        json=whole if path is None else None,
        fields=None if path is None else {"request": as_json(whole)},
        upload=None if path is None else Upload(path=Path(path), on_progress=on_progress),
        timeout_seconds=timeout_seconds,
        secrets=secrets_of(target),
    )


def _in_r3(name: str, answer: type[Answer], request: Request) -> Endpoint[Answer]:
    return Endpoint(name=name, answer=answer, requests={"r3": request}, instead=_INSTEAD)
