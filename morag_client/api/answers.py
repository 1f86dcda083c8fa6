"""Reading what MoRAG answered: the typed object, or an error that says what to do."""

from __future__ import annotations

import json
from typing import Any, Final

from pydantic import ValidationError

from morag_client.api.endpoints import Answer, Endpoint
from morag_client.errors import ApiError

_SHOWN: Final = 500
_ADVICE: Final = {
    401: "the API key was refused; give api_key= or set MORAG_API_KEY",
    403: "the API key may not do this; give another api_key= or set MORAG_API_KEY",
    404: "no such thing there; check the id, and that base_url= or MORAG_API_URL is MoRAG's",
    405: "no such call there; check that base_url= or MORAG_API_URL is MoRAG's",
    410: "this release of MoRAG no longer has it",
    413: "the file is too large for this server",
    429: "too many requests; try again later",
}


def read_answer(endpoint: Endpoint[Answer], *, status_code: int, body: bytes) -> Answer:
    """The answer as its type. Raises ApiError for a refusal, and for what cannot be understood."""
    asked = f"{endpoint.method} {endpoint.path}"
    if not 200 <= status_code < 300:  # noqa: PLR2004
        detail = _detail(body)
        said = f" ({_sentence(detail)})" if detail else ""
        raise ApiError(
            f"MoRAG answered {status_code} to {asked}{said}: {_advice(status_code)}",
            status_code=status_code,
            detail=detail,
        )
    try:
        return endpoint.answer.model_validate_json(body)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'the body'}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_context=False, include_input=False)
        )
        raise ApiError(
            f"MoRAG's answer to {asked} was not understood ({problems}): "
            "check that base_url= or MORAG_API_URL is a MoRAG server",
            status_code=status_code,
            detail=_detail(body),
        ) from None


def _advice(status_code: int) -> str:
    if status_code in _ADVICE:
        return _ADVICE[status_code]
    if status_code >= 500:  # noqa: PLR2004
        return "the server failed; see its log, and try again"
    if status_code < 400:  # noqa: PLR2004
        return "the server is elsewhere; set base_url= or MORAG_API_URL to where it redirects"
    return "correct what it names"


def _detail(body: bytes) -> Any:
    """FastAPI's `detail`, else the beginning of the text."""
    text = body.decode(errors="replace").strip()
    try:
        decoded = json.loads(text)
    except (ValueError, RecursionError):
        return text[:_SHOWN] or None
    return decoded.get("detail", decoded) if isinstance(decoded, dict) else decoded


def _sentence(detail: Any) -> str:
    """A detail as text; FastAPI's list of validation errors as `body.file: Field required`."""
    if isinstance(detail, str):
        return detail
    if isinstance(detail, list) and all(isinstance(problem, dict) and "msg" in problem for problem in detail):
        return "; ".join(f"{'.'.join(map(str, problem.get('loc', ())))}: {problem['msg']}" for problem in detail)
    return json.dumps(detail)[:_SHOWN]
