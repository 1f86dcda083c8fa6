"""Reading what is asked, and saying no as FastAPI does."""

from __future__ import annotations

from typing import Any, Final

from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from morag_client.errors import ConfigurationError
from morag_client.testing.mock.hosts import AllowedHosts
from morag_client.testing.mock.requests import ANY_OBJECT, AnyRequest, WebhookConfig, problems, sentence
from morag_client.testing.mock.shipping import Webhook
from morag_client.testing.mock.uploads import content_of

_JSON_LIMIT: Final = 5 * 1024 * 1024


class Invalid(Exception):
    """A request that cannot be understood: FastAPI's 422 with its list."""

    def __init__(self, detail: list[dict[str, Any]]) -> None:
        super().__init__(detail)
        self.detail = detail


async def json_of(request: HttpRequest, model: type[AnyRequest]) -> AnyRequest:
    """The body's JSON. Raises Invalid, and HTTPException 413 where there is too much of it."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _JSON_LIMIT:
            raise HTTPException(413, f"the body is larger than {_JSON_LIMIT} bytes")
    try:
        return model.model_validate_json(bytes(body) or b"null")
    except ValidationError as error:
        raise Invalid(problems(error, "body")) from None


def field_json(form: FormData, name: str, model: type[AnyRequest]) -> AnyRequest:
    """The JSON in a form field. Raises Invalid where there is no such field, HTTPException 400 for what it holds."""
    text = form.get(name)
    if not isinstance(text, str):
        raise missing(name)
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise HTTPException(400, f"Invalid {name}: {sentence(error)}") from None


def field_object(form: FormData, name: str) -> dict[str, Any] | None:
    """The JSON object in a form field, None where it is empty. Raises HTTPException 400 for anything else."""
    text = form.get(name)
    if not text or not isinstance(text, str):
        return None
    try:
        return ANY_OBJECT.validate_json(text)
    except ValidationError:
        raise HTTPException(400, f"{name} has to be a JSON object") from None


def fields_of(form: FormData, model: type[AnyRequest], **read: object) -> AnyRequest:
    """A form's fields, some of which were `read` before. Raises Invalid."""
    plain = {name: value for name, value in form.items() if isinstance(value, str)}
    try:
        return model.model_validate({**plain, **read})
    except ValidationError as error:
        raise Invalid(problems(error, "body")) from None


async def uploaded(form: FormData, *, max_upload_bytes: int) -> tuple[str, bytes] | None:
    """Name and bytes of the form's file; None where there is none. Raises HTTPException 413."""
    upload = form.get("file")
    if not isinstance(upload, UploadFile):
        return None
    return await content_of(upload, max_upload_bytes=max_upload_bytes)


def webhook_to(config: WebhookConfig | str | None, *, allowed: AllowedHosts, named: str) -> Webhook | None:
    """The webhook that a submission asks for. Raises HTTPException 400 for one that cannot be, or may not be."""
    if config is None:
        return None
    stated = WebhookConfig(url=config) if isinstance(config, str) else config
    refusal = allowed.refusal(stated.url, what=named)
    if refusal is not None:
        raise HTTPException(400, refusal)
    try:
        return Webhook(
            url=stated.url,
            auth_token=stated.auth_token,
            headers=stated.headers or {},
            timeout_seconds=stated.timeout,
        )
    except ConfigurationError as error:
        raise HTTPException(400, str(error)) from None


def missing(name: str) -> Invalid:
    """A field that has to be there."""
    return Invalid([{"type": "missing", "loc": ["body", name], "msg": "Field required"}])


async def as_detail(_request: HttpRequest, error: Exception) -> Response:
    """A refusal as FastAPI words it."""
    if isinstance(error, Invalid):
        return JSONResponse({"detail": error.detail}, status_code=422)
    if isinstance(error, HTTPException):
        return JSONResponse({"detail": error.detail}, status_code=error.status_code, headers=error.headers)
    raise error
