"""`/api/v1/process`: converting and processing at once, or ingesting as a task."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from morag_client.testing.bodies import Json
from morag_client.testing.mock.asking import field_json, uploaded, webhook_to
from morag_client.testing.mock.hosts import AllowedHosts
from morag_client.testing.mock.ingesting import Ingesting
from morag_client.testing.mock.requests import ProcessRequest
from morag_client.testing.mock.running import Submission, Workers
from morag_client.testing.mock.uploads import bounded_form
from morag_client.testing.pipeline.document import Document, StepFailure
from morag_client.testing.pipeline.steps import PERFORM, Work

_ANSWER: Final = (
    "content",
    "metadata",
    "processing_time_ms",
    "task_id",
    "estimated_time_seconds",
    "status_url",
    "document_id",
    "error_message",
    "warnings",
    "message",
)
_STEPS_AT_ONCE: Final = ("markdown_conversion", "metadata_extraction", "content_processing")


class Processing:
    """The one call of r2 that does it all."""

    def __init__(
        self, *, ingesting: Ingesting, workers: Workers, webhook_hosts: AllowedHosts, max_upload_bytes: int
    ) -> None:
        self._ingesting = ingesting
        self._workers = workers
        self._webhook_hosts = webhook_hosts
        self._max_upload_bytes = max_upload_bytes

    def routes(self) -> list[Route]:
        """The one route."""
        return [Route("/api/v1/process", self.process, methods=["POST"])]

    async def process(self, request: Request) -> Response:
        """Converts, processes or ingests."""
        async with bounded_form(request, max_upload_bytes=self._max_upload_bytes) as form:
            stated = field_json(form, "request_data", ProcessRequest)
            file = await uploaded(form, max_upload_bytes=self._max_upload_bytes)
        submission = self._submission(stated, file)
        if stated.mode == "ingest":
            return JSONResponse(self._ingest(stated, submission))
        if stated.mode == "convert" and stated.source_type != "file":
            raise HTTPException(400, "Convert mode only supports source_type='file'")
        return JSONResponse(await run_in_threadpool(self._at_once, stated, submission))

    def _submission(self, stated: ProcessRequest, file: tuple[str, bytes] | None) -> Submission:
        if stated.mode == "ingest" and stated.webhook_config is None:
            raise HTTPException(400, "Webhook configuration required for mode='ingest'")
        webhook = webhook_to(stated.webhook_config, allowed=self._webhook_hosts, named="webhook_config.url")
        metadata = _said_of(stated)
        if stated.source_type == "url":
            if not stated.url:
                raise HTTPException(400, "URL required for source_type='url'")
            return self._ingesting.submission_of_url(stated.url, metadata, webhook, source_type=None)
        if stated.source_type == "batch":
            items = self._ingesting.checked_items(stated.items)
            return self._ingesting.submission_of_batch(items, metadata, webhook)
        if file is None:
            raise HTTPException(400, "File upload required for source_type='file'")
        return Submission(document=Document(*file, "document", metadata), webhook=webhook)

    def _ingest(self, stated: ProcessRequest, submission: Submission) -> Json:
        expected = self._workers.expected_seconds(submission.document)
        task_id = self._workers.start(submission)
        return _answer(
            stated,
            success=True,
            task_id=task_id,
            estimated_time_seconds=round(expected),
            status_url=f"/api/v1/status/{task_id}",
            message=f"Processing started for '{submission.document.filename}'",
        )

    def _at_once(self, stated: ProcessRequest, submission: Submission) -> Json:
        began = time.perf_counter()
        try:
            document = submission.document if submission.fetch is None else submission.fetch()
            work = Work(document, "")
            metadata = _process(work) if stated.mode == "process" else _convert(work)
        except StepFailure as failure:
            if stated.mode == "convert" and failure.details["error_code"] == "UNSUPPORTED_FORMAT":
                raise HTTPException(400, f"Convert mode not supported: {failure}") from None
            spent = (time.perf_counter() - began) * 1000
            return _answer(stated, success=False, error_message=str(failure), processing_time_ms=spent)
        spent = (time.perf_counter() - began) * 1000
        return _answer(
            stated, success=True, content=work.markdown, metadata=metadata, processing_time_ms=spent, warnings=[]
        )


def _convert(work: Work) -> Json:
    conversion: Json = PERFORM["markdown_conversion"](work, _stopwatch())["conversion_metadata"]
    return {**conversion, "original_filename": work.document.filename}


def _process(work: Work) -> Json:
    converted, extracted, analysed = (PERFORM[step](work, _stopwatch()) for step in _STEPS_AT_ONCE)
    found = {name: analysed[name] for name in ("summary", "detected_topics", "content_length")}
    return {**converted["conversion_metadata"], **extracted["metadata"], **found}


def _stopwatch() -> Callable[[], float]:
    began = time.perf_counter()
    return lambda: round(time.perf_counter() - began, 6)


def _said_of(stated: ProcessRequest) -> dict[str, Any]:
    options, database = stated.processing_options or {}, stated.database_config or {}
    named = {
        "document_id": stated.document_id,
        "language": options.get("language"),
        "collection_name": database.get("collection_name"),
    }
    return {**(stated.metadata or {}), **{name: value for name, value in named.items() if value is not None}}


def _answer(stated: ProcessRequest, *, success: bool, **said: object) -> Json:
    """The answer with all its fields, as FastAPI sends them; what there is nothing to say of is null."""
    answer: Json = {"success": success, "mode": stated.mode, **dict.fromkeys(_ANSWER), **said}
    return {**answer, "document_id": stated.document_id}
