"""Submitting documents to MoRAG: a file, a URL, several URLs, in the form that each release takes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from morag_client.api.endpoint import Endpoint
from morag_client.api.models import BatchSubmission, Processed, Submission
from morag_client.api.releases import STAGES_INSTEAD, WITH_TASKS
from morag_client.api.requests import OnProgress, Request, Upload
from morag_client.api.source_types import source_type_of_file, source_type_of_url
from morag_client.api.webhooks import CorrelationValue, WebhookMaker, secrets_of, told_to, webhook_config
from morag_client.errors import ConfigurationError

Mode = Literal["convert", "process", "ingest"]

_BATCH_LIMIT: Final = 50
_OLDER: Final = "cannot be said to this release of MoRAG; r2 is the first that takes it"


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
    `document_id` of its own, there it goes into the metadata; the options after it are r2's. Not in r3.
    Raises OSError for a file that cannot be read, ConfigurationError, and ApiError.
    """
    target = told_to(webhook, correlation, webhook_url)
    file = Path(path)
    said = given(
        source_type=source_type or source_type_of_file(file.name),
        webhook_url=None if target is None else target.url,
    )
    options = given(
        collection_name=collection_name,
        chunking_strategy=chunking_strategy,
        chunk_size=chunk_size,
        chunk_overlap=chunk_overlap,
    )
    known = dict(metadata or {})
    with_id = {**known, **given(document_id=document_id)}
    fields = said if metadata is None and not with_id else {**said, "metadata": as_json(with_id)}
    stated = {**said, **given(document_id=document_id, metadata=known or None), **options}

    def form(fields: Mapping[str, str]) -> Request:
        upload = Upload(path=file, on_progress=on_progress)
        return Request(
            method="POST", path="/api/v1/ingest/file", fields=fields, upload=upload, secrets=secrets_of(target)
        )

    in_fields = form(fields)
    older = f"{', '.join(options)} {_OLDER}"
    return Endpoint(
        name="ingest_file",
        answer=Submission,
        requests={"guide": in_fields, "r1": in_fields, "r2": form({"request_data": as_json(stated)})},
        refusals={"guide": older, "r1": older} if options else {},
        instead=STAGES_INSTEAD,
    )


def ingest_url(
    url: str,
    *,
    webhook: WebhookMaker | None = None,
    correlation: Mapping[str, CorrelationValue] | None = None,
    webhook_url: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    source_type: str | None = None,
    document_id: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Endpoint[Submission]:
    """Submits a document by its URL, which MoRAG fetches; it then reports to a webhook, as with `ingest_file`.

    `source_type` is `web` or `youtube`, by default as the URL says. `options` are sent beside, as r2 has more of them
    (`collection_name`, `chunk_size`, …). Not in r3. Raises ConfigurationError and ApiError.
    """
    target = told_to(webhook, correlation, webhook_url)
    stated = given(
        source_type=source_type or source_type_of_url(url),
        url=url,
        webhook_url=None if target is None else target.url,
        metadata=None if metadata is None else dict(metadata),
        document_id=document_id,
    )
    request = Request(
        method="POST", path="/api/v1/ingest/url", json={**(options or {}), **stated}, secrets=secrets_of(target)
    )
    return Endpoint(
        name="ingest_url",
        answer=Submission,
        requests=dict.fromkeys(WITH_TASKS, request),
        instead=STAGES_INSTEAD,
    )


def ingest_batch(
    items: Iterable[str | Mapping[str, Any]],
    *,
    webhook: WebhookMaker | None = None,
    correlation: Mapping[str, CorrelationValue] | None = None,
    webhook_url: str | None = None,
) -> Endpoint[BatchSubmission]:
    """Submits documents by their URLs, all with one webhook.

    An item is a URL, or a mapping with `url` and what else is said of it (`source_type`, `metadata`, `document_id`).
    r1 takes 50 at most and makes a task of each, r2 makes one task of all. Not in r3.
    Raises ConfigurationError and ApiError.
    """
    target = told_to(webhook, correlation, webhook_url)
    listed = [_item(item) for item in items]
    if not listed:
        raise ConfigurationError("a batch has at least one item")
    stated = given(items=listed, webhook_url=None if target is None else target.url)
    request = Request(method="POST", path="/api/v1/ingest/batch", json=stated, secrets=secrets_of(target))
    many = (
        f"{len(listed)} items are more than this release of MoRAG takes at once, {_BATCH_LIMIT}; send several batches"
    )
    return Endpoint(
        name="ingest_batch",
        answer=BatchSubmission,
        requests=dict.fromkeys(WITH_TASKS, request),
        refusals={"guide": many, "r1": many} if len(listed) > _BATCH_LIMIT else {},
        instead=STAGES_INSTEAD,
    )


def process(
    path: str | os.PathLike[str] | None = None,
    *,
    mode: Mode,
    url: str | None = None,
    items: Iterable[str | Mapping[str, Any]] | None = None,
    webhook: WebhookMaker | None = None,
    correlation: Mapping[str, CorrelationValue] | None = None,
    webhook_url: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    document_id: str | None = None,
    replace_existing: bool | None = None,
    processing_options: Mapping[str, Any] | None = None,
    database_config: Mapping[str, Any] | None = None,
    timeout_seconds: float | None = None,
    on_progress: OnProgress | None = None,
) -> Endpoint[Processed]:
    """Converts or processes a document while you wait, or ingests it as a task: r2's one call for all, and the guide's.

    The document is a file (`path`), a `url`, or a batch of `items`; `mode="ingest"` needs a webhook, which gets the
    receiver's bearer token, if it has one. `timeout_seconds` takes the place of the client's, since the answer to
    `convert` and `process` comes when the work is done. Raises OSError, ConfigurationError and ApiError.
    """
    target = told_to(webhook, correlation, webhook_url)
    kinds = given(file=path, url=url, batch=items)
    if len(kinds) != 1:
        raise ConfigurationError("process takes one of a path, url= and items=")
    if mode == "ingest" and target is None:
        raise ConfigurationError('mode="ingest" reports to a webhook; give webhook=receiver or webhook_url=')
    stated = given(
        mode=mode,
        source_type=next(iter(kinds)),
        url=url,
        items=None if items is None else [_item(item) for item in items],
        document_id=document_id,
        replace_existing=replace_existing,
        processing_options=None if processing_options is None else dict(processing_options),
        database_config=None if database_config is None else dict(database_config),
        webhook_config=None if target is None else webhook_config(target),
        metadata=None if metadata is None else dict(metadata),
    )
    request = Request(
        method="POST",
        path="/api/v1/process",
        fields={"request_data": as_json(stated)},
        upload=None if path is None else Upload(path=Path(path), on_progress=on_progress),
        timeout_seconds=timeout_seconds,
        secrets=secrets_of(target),
    )
    return Endpoint(
        name="process", answer=Processed, requests={"guide": request, "r2": request}, instead=STAGES_INSTEAD
    )


def given(**options: Any) -> dict[str, Any]:
    """Those that are not None."""
    return {name: value for name, value in options.items() if value is not None}


def as_json(stated: Mapping[str, Any]) -> str:
    """The text of a form's field. Raises ConfigurationError for what JSON does not have."""
    try:
        return json.dumps(stated, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"what is to be sent is no JSON: {error}") from None


def _item(item: str | Mapping[str, Any]) -> dict[str, Any]:
    stated = {"url": item} if isinstance(item, str) else dict(item)
    if not isinstance(stated.get("url"), str):
        raise ConfigurationError("an item of a batch is a URL, or a mapping with url in it")
    return {"source_type": source_type_of_url(stated["url"]), **stated}
