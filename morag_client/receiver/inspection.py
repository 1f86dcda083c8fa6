"""The inbox's own routes: what was received, and how the receiver is."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import to_jsonable_python
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from morag_client.errors import ConfigurationError, InboxUnavailable
from morag_client.inbox.queries import HandlerRun, Record
from morag_client.receiver.access import Access, Right
from morag_client.receiver.lifecycle import Lifecycle

if TYPE_CHECKING:
    from morag_client.receiver.receiver import Receiver

Endpoint = Callable[[Request], Awaitable[Response]]

logger = logging.getLogger("morag_client.receiver")

_MOST: Final = 1000
_STATES: Final = ("stored", "handled", "failed")


def inspection_routes(receiver: Receiver, *, access: Access, lifecycle: Lifecycle) -> Starlette:
    """`/webhooks`, `/api/events` (closed by default) and `/health` (open), as an application."""

    async def webhooks(request: Request) -> Response:
        runtime = await lifecycle.runtime()
        records = await runtime.queries.newest(limit=_limit(request, _MOST), hidden=False)
        return JSONResponse([_webhook(record) for record in reversed(records)])

    async def clear(_: Request) -> Response:
        await (await lifecycle.runtime()).queries.hide_all()
        return JSONResponse({"status": "cleared"})

    async def events(request: Request) -> Response:
        state = request.query_params.get("state")
        if state is not None and state not in _STATES:
            return JSONResponse({"detail": f"state is none of {', '.join(_STATES)}"}, 422)
        records = await receiver.records(limit=_limit(request, 50), state=state)
        return JSONResponse({"events": [described(record) for record in records]})

    async def live(_: Request) -> Response:
        return JSONResponse({"status": "live"})

    async def ready(_: Request) -> Response:
        await (await lifecycle.runtime()).inbox.ping()
        if lifecycle.has_lifespan:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "degraded", "detail": "nobody runs the receiver's lifespan"})

    return Starlette(
        routes=[
            Route("/webhooks", _guarded(webhooks, access, "read"), methods=["GET"]),
            Route("/webhooks", _guarded(clear, access, "act"), methods=["DELETE"]),
            Route("/webhooks/clear", _guarded(clear, access, "act"), methods=["POST"]),
            Route("/api/events", _guarded(events, access, "read"), methods=["GET"]),
            Route("/health/live", live, methods=["GET"]),
            Route("/health/ready", _answering(ready), methods=["GET"]),
        ]
    )


def described(record: Record) -> Mapping[str, Any]:
    """A record with its runs, as JSON can say it; its payload stays where it is."""
    hidden = {"body", "task_key", "query", "path", "headers"}
    fields = {key: value for key, value in asdict(record).items() if key not in hidden}
    fields["runs"] = [_run(run) for run in record.runs]
    described: Mapping[str, Any] = to_jsonable_python(fields)
    return described


def for_anybody(error: InboxUnavailable | ConfigurationError) -> str:
    """What a sender, or whoever asks for our health, may know of trouble on our side."""
    return str(error) if isinstance(error, InboxUnavailable) else "the receiver is not set up correctly"


def _guarded(endpoint: Endpoint, access: Access, wanted: Right) -> Endpoint:
    async def guarded(request: Request) -> Response:
        right = await access.right(request)
        if right is None or (wanted == "act" and right != "act"):
            return JSONResponse({"detail": access.advice}, 403)
        return await answering(request)

    answering = _answering(endpoint)
    return guarded


def _answering(endpoint: Endpoint) -> Endpoint:
    async def answering(request: Request) -> Response:
        try:
            return await endpoint(request)
        except (InboxUnavailable, ConfigurationError) as error:
            logger.error("the inbox cannot be asked: %s", error)
            return JSONResponse(
                {"detail": for_anybody(error), "status": "unavailable"}, 503, headers={"retry-after": "1"}
            )

    return answering


def _webhook(record: Record) -> dict[str, Any]:
    return {
        "payload": None if record.body is None else json.loads(record.body),
        "received_at": record.received_at.isoformat(),
        "headers": dict(record.headers),
    }


def _run(run: HandlerRun) -> dict[str, Any]:
    moments = {"started_at": run.started_at, "finished_at": run.finished_at}
    return {
        "handler": run.handler,
        "state": run.state,
        "attempts": run.attempts,
        "error": run.error,
        **{key: _iso(moment) for key, moment in moments.items()},
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _limit(request: Request, default: int) -> int:
    given = request.query_params.get("limit", "")
    return min(max(int(given), 1), _MOST) if given.isascii() and given.isdigit() and len(given) < 10 else default  # noqa: PLR2004
