"""What MoRAG's refusals mean: an error of its own for each status, with MoRAG's words and what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from morag_client.api.requests import Head, Request
from morag_client.errors import (
    ApiError,
    BadRequest,
    Conflict,
    Forbidden,
    Gone,
    NotFound,
    RateLimited,
    ServerFailed,
    TooLarge,
    Unauthorized,
    ValidationRefused,
)
from morag_client.wire.redaction import redacted_text

_SHOWN: Final = 500
_KINDS: Final[Mapping[int, tuple[type[ApiError], str]]] = {
    400: (BadRequest, "correct what it names"),
    401: (Unauthorized, "the API key was refused; give api_key= or set MORAG_API_KEY"),
    403: (Forbidden, "the API key may not do this; give another api_key= or set MORAG_API_KEY"),
    404: (NotFound, "no such thing there; check the id, and that base_url= or MORAG_API_URL is MoRAG's"),
    405: (ApiError, "no such call there; check that base_url= or MORAG_API_URL is MoRAG's"),
    409: (Conflict, "it does not go with how things stand"),
    410: (Gone, "this release of MoRAG no longer has it. r3 has stages in the place of tasks: use client.stages"),
    413: (TooLarge, "the file is too large for this server"),
    422: (ValidationRefused, "correct what it names"),
    429: (RateLimited, "too many requests; try again later"),
}


def refused(request: Request, head: Head, body: bytes) -> ApiError:
    """The error that a refusal is."""
    detail = detail_of(body)
    said = f" ({_sentence(detail)})" if detail else ""
    kind, advice = _kind(head.status_code)
    return kind(
        f"MoRAG answered {head.status_code} to {request.asked}{said}: {advice}",
        status_code=head.status_code,
        detail=detail,
        retry_after=retry_after(head, now=datetime.now(UTC)),
    )


def retry_after(head: Head, *, now: datetime) -> float | None:
    """How many seconds the answer asks to wait: the header's seconds, or the time until its date (RFC 9110, 10.2.3)."""
    value = head.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def detail_of(body: bytes) -> Any:
    """FastAPI's `detail`, else the beginning of the text; without the tokens of signed URLs."""
    text = redacted_text(body.decode(errors="replace")).strip()
    try:
        decoded = json.loads(text)
    except (ValueError, RecursionError):
        return text[:_SHOWN] or None
    return decoded.get("detail", decoded) if isinstance(decoded, dict) else decoded


def _kind(status_code: int) -> tuple[type[ApiError], str]:
    if status_code in _KINDS:
        return _KINDS[status_code]
    if status_code >= 500:  # noqa: PLR2004
        return ServerFailed, "the server failed; see its log, and try again"
    if status_code < 400:  # noqa: PLR2004
        return ApiError, "the server is elsewhere; set base_url= or MORAG_API_URL to where it redirects"
    return ApiError, "correct what it names"


def _sentence(detail: Any) -> str:
    """A detail as text; FastAPI's list of validation errors as `body.file: Field required`."""
    if isinstance(detail, str):
        return detail[:_SHOWN]
    if isinstance(detail, list) and all(isinstance(problem, dict) and "msg" in problem for problem in detail):
        return "; ".join(f"{_location(problem)}: {problem['msg']}" for problem in detail)[:_SHOWN]
    return json.dumps(detail)[:_SHOWN]


def _location(problem: Mapping[str, Any]) -> str:
    found = problem.get("loc", ())
    return ".".join(map(str, found)) if isinstance(found, list) else str(found)
