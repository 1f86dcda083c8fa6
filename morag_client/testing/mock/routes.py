"""The mock server's HTTP side: MoRAG's paths, its answers, and FastAPI's way to say no."""

from __future__ import annotations

import hmac
import json
import mimetypes
from collections.abc import Callable
from typing import Any, Final

from starlette.applications import Starlette
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from morag_client.api.transport import require_url
from morag_client.errors import ConfigurationError
from morag_client.testing.mock.tasks import Tasks
from morag_client.testing.mock.uploads import MAX_UPLOAD_BYTES, bounded_form, content_of
from morag_client.testing.pipeline.document import Document

SOURCE_TYPES: Final = ("document", "audio", "video", "image", "web", "youtube")

Submit = Callable[[Document, str | None], dict[str, Any]]


def mock_app(*, tasks: Tasks, submit: Submit, api_key: str, max_upload_bytes: int = MAX_UPLOAD_BYTES) -> Starlette:
    """The app. `submit` starts a task for a document and a webhook URL, and returns what MoRAG answers."""
    endpoints = _Endpoints(tasks, submit, max_upload_bytes)
    return Starlette(
        routes=[
            Route("/api/v1/ingest/file", endpoints.ingest_file, methods=["POST"]),
            Route("/api/v1/status/{task_id}", endpoints.status),
            Route("/api/v1/status/{task_id}/history", endpoints.history),
            Route("/api/files/temp/{task_id}/{filename}", endpoints.artefact),
        ],
        middleware=[Middleware(_RequireKey, api_key=api_key)],
        exception_handlers={HTTPException: _as_detail},
    )


class _RequireKey:
    """Lets nobody in without the API key."""

    def __init__(self, app: ASGIApp, *, api_key: str) -> None:
        self._app = app
        self._expected = f"bearer {api_key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._knows(dict(scope["headers"]).get(b"authorization", b"")):
            refusal = JSONResponse(
                {"detail": "Invalid or missing API key"}, status_code=401, headers={"WWW-Authenticate": "Bearer"}
            )
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _knows(self, value: bytes) -> bool:
        scheme, _, key = value.partition(b" ")
        return hmac.compare_digest(scheme.lower() + b" " + key, self._expected)


class _Endpoints:
    def __init__(self, tasks: Tasks, submit: Submit, max_upload_bytes: int) -> None:
        self._tasks = tasks
        self._submit = submit
        self._max_upload_bytes = max_upload_bytes

    async def ingest_file(self, request: Request) -> Response:
        async with bounded_form(request, max_upload_bytes=self._max_upload_bytes) as form:
            upload = form.get("file")
            if not isinstance(upload, UploadFile):
                return _invalid("file", "missing", "Field required")
            source_type = str(form.get("source_type") or "document")
            if source_type not in SOURCE_TYPES:
                return _invalid("source_type", "enum", f"Input should be one of {', '.join(SOURCE_TYPES)}")
            filename, content = await content_of(upload, max_upload_bytes=self._max_upload_bytes)
            document = Document(filename, content, source_type, _metadata(form))
            return JSONResponse(self._submit(document, _webhook_url(form)))

    async def status(self, request: Request) -> Response:
        return JSONResponse(self._tasks.status(request.path_params["task_id"]))

    async def history(self, request: Request) -> Response:
        return JSONResponse(self._tasks.history(request.path_params["task_id"]))

    async def artefact(self, request: Request) -> Response:
        filename = request.path_params["filename"]
        content = self._tasks.artefact(request.path_params["task_id"], filename)
        if content is None:
            raise HTTPException(404, "File not found")
        markdown = filename.endswith(".md")
        media_type = "text/markdown" if markdown else mimetypes.guess_type(filename)[0]
        return Response(content, media_type=media_type or "application/octet-stream")


def _metadata(form: FormData) -> dict[str, Any]:
    try:
        metadata = json.loads(str(form.get("metadata") or "{}"))
        # What cannot be said in JSON again (NaN, half a surrogate pair) could not be echoed.
        json.dumps(metadata, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        metadata = None
    if not isinstance(metadata, dict):
        raise HTTPException(400, "metadata has to be a JSON object")
    return metadata


def _webhook_url(form: FormData) -> str | None:
    url = form.get("webhook_url")
    if not url:
        return None
    try:
        return require_url(str(url), advice="webhook_url has to start with http:// or https://")
    except ConfigurationError as error:
        raise HTTPException(400, str(error)) from None


def _invalid(field: str, kind: str, message: str) -> Response:
    return JSONResponse({"detail": [{"type": kind, "loc": ["body", field], "msg": message}]}, status_code=422)


async def _as_detail(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  # Starlette's type of a handler is wider
    return JSONResponse({"detail": error.detail}, status_code=error.status_code, headers=error.headers)
