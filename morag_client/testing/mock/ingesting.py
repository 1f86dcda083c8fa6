"""`/api/v1/ingest`: a file, a URL, a batch of URLs, and the end of a task before its time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from morag_client.testing.mock.asking import field_json, field_object, fields_of, json_of, missing, uploaded, webhook_to
from morag_client.testing.mock.fetching import fetch, fetch_all, filename_of
from morag_client.testing.mock.hosts import AllowedHosts
from morag_client.testing.mock.profiles import Profile
from morag_client.testing.mock.requests import BatchItem, BatchRequest, FileForm, FileRequest, UrlRequest
from morag_client.testing.mock.running import Submission, Workers
from morag_client.testing.mock.shipping import Webhook
from morag_client.testing.mock.uploads import bounded_form
from morag_client.testing.pipeline.document import Document


class Ingesting:
    """The calls that start tasks and end them. Webhooks go to `webhook_hosts`, documents come from `url_hosts`."""

    def __init__(
        self,
        *,
        profile: Profile,
        workers: Workers,
        webhook_hosts: AllowedHosts,
        url_hosts: AllowedHosts,
        max_upload_bytes: int,
    ) -> None:
        self._profile = profile
        self._workers = workers
        self._webhook_hosts = webhook_hosts
        self._url_hosts = url_hosts
        self._max_upload_bytes = max_upload_bytes

    def routes(self) -> list[Route]:
        """The routes of the profile."""
        routes = [
            Route("/api/v1/ingest/file", self.file, methods=["POST"]),
            Route("/api/v1/ingest/url", self.url, methods=["POST"]),
            Route("/api/v1/ingest/batch", self.batch, methods=["POST"]),
        ]
        if self._profile.has_cancelling:
            routes.append(Route("/api/v1/ingest/{task_id}", self.cancel, methods=["DELETE"]))
        return routes

    async def file(self, request: Request) -> Response:
        """Takes a file: r1 and the guide say more of it in form fields, r2 in the JSON of one field."""
        async with bounded_form(request, max_upload_bytes=self._max_upload_bytes) as form:
            file = await uploaded(form, max_upload_bytes=self._max_upload_bytes)
            if file is None:
                raise missing("file")
            stated: FileForm
            if self._profile.in_fields:
                stated = fields_of(form, FileForm, metadata=field_object(form, "metadata"))
            else:
                stated = field_json(form, "request_data", FileRequest)
        name, content = file
        document = Document(name, content, stated.source_type or "document", said_of(stated))
        webhook = self._webhook(stated.webhook_url)
        return self._taken(Submission(document=document, webhook=webhook), f"File ingestion started for {name}")

    async def url(self, request: Request) -> Response:
        """Takes a URL, whose document is fetched when the task runs."""
        stated = await json_of(request, UrlRequest)
        submission = self.submission_of_url(
            stated.url, said_of(stated), self._webhook(stated.webhook_url), source_type=stated.source_type
        )
        return self._taken(submission, f"URL ingestion started for {stated.url}")

    async def batch(self, request: Request) -> Response:
        """Takes several URLs: r1 makes a task of each, r2 one of all."""
        stated = await json_of(request, BatchRequest)
        items, webhook = self.checked_items(stated.items), self._webhook(stated.webhook_url)
        if self._profile.batch_limit is None:
            submissions = [self.submission_of_batch(items, {}, webhook)]
        else:
            submissions = [
                self.submission_of_url(item.url, said_of(item), webhook, source_type=item.source_type) for item in items
            ]
        task_ids = [self._workers.start(submission) for submission in submissions]
        batch_id = task_ids[0] if self._profile.batch_limit is None else f"batch-{task_ids[0]}"
        message = f"Batch ingestion started for {len(items)} items"
        return JSONResponse({"batch_id": batch_id, "task_ids": task_ids, "total_items": len(items), "message": message})

    async def cancel(self, request: Request) -> Response:
        """Revokes a task, as Celery does: of one that has ended or is not known it is no error."""
        task_id = request.path_params["task_id"]
        self._workers.cancel(task_id)
        return JSONResponse({"message": f"Task {task_id} has been cancelled", "task_id": task_id})

    def checked_items(self, items: Sequence[BatchItem] | None) -> Sequence[BatchItem]:
        """The items of a batch. Raises HTTPException 400 where there are none, or too many."""
        limit = self._profile.batch_limit
        if not items:
            raise HTTPException(400, "Items array required: a batch has at least one item")
        if limit is not None and len(items) > limit:
            raise HTTPException(400, f"Maximum {limit} items allowed per batch, not {len(items)}")
        return items

    def submission_of_url(
        self, url: str, metadata: Mapping[str, Any], webhook: Webhook | None, *, source_type: str | None
    ) -> Submission:
        """A task for the document at a URL. Raises HTTPException 400 for what is no URL."""
        kind = source_type or ("youtube" if "youtube.com" in url or "youtu.be" in url else "web")
        self._check_url(url)

        def fetched() -> Document:
            name, content = fetch(url, allowed=self._url_hosts)
            return Document(name, content, kind, metadata)

        return Submission(document=Document(filename_of(url), b"", kind, metadata), webhook=webhook, fetch=fetched)

    def submission_of_batch(
        self, items: Sequence[BatchItem], metadata: Mapping[str, Any], webhook: Webhook | None
    ) -> Submission:
        """One task for the documents at several URLs."""
        urls = [item.url for item in items]
        for url in urls:
            self._check_url(url)
        document = Document("batch.md", b"", "web", metadata)

        def fetched() -> Document:
            return Document("batch.md", fetch_all(urls, allowed=self._url_hosts), "web", metadata)

        return Submission(document=document, webhook=webhook, fetch=fetched)

    def _check_url(self, url: str) -> None:
        refusal = AllowedHosts(None).refusal(url, what="url")
        if refusal is not None:
            raise HTTPException(400, refusal)

    def _webhook(self, url: str | None) -> Webhook | None:
        return webhook_to(url, allowed=self._webhook_hosts, named="webhook_url")

    def _taken(self, submission: Submission, message: str) -> Response:
        expected = self._workers.expected_seconds(submission.document)
        task_id = self._workers.start(submission)
        return JSONResponse(
            {"task_id": task_id, "status": "pending", "message": message, "estimated_time": round(expected)}
        )


def said_of(stated: FileForm | BatchItem) -> dict[str, Any]:
    """What the application said of a document, as MoRAG echoes it: its metadata, and the ids beside them."""
    named = {name: getattr(stated, name, None) for name in ("document_id", "collection_name")}
    return {**(stated.metadata or {}), **{name: value for name, value in named.items() if value is not None}}
