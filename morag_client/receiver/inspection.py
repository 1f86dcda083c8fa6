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

from morag_client.dashboard.routes import dashboard_routes
from morag_client.dashboard.sessions import comes_from_us
from morag_client.errors import ConfigurationError, InboxUnavailable
from morag_client.events.payloads import as_text
from morag_client.inbox.queries import HandlerRun, Record
from morag_client.receiver.access import Access, Right
from morag_client.receiver.dashboard import desk_of
from morag_client.receiver.lifecycle import Lifecycle
from morag_client.receiver.progress import ProgressGate
from morag_client.receiver.task_routes import TaskRoutes

if TYPE_CHECKING:
    from morag_client.receiver.receiver import Receiver

Endpoint = Callable[[Request], Awaitable[Response]]

logger = logging.getLogger("morag_client.receiver")

_MOST: Final = 1000
_MOST_BYTES: Final = 16 * 1024 * 1024
_STATES: Final = ("stored", "retrying", "handled", "failed")


def inspection_routes(receiver: Receiver, *, access: Access, gate: ProgressGate, lifecycle: Lifecycle) -> Starlette:
    """`/webhooks`, `/api/events`, `/api/tasks` (closed by default) and `/health` (open), as an application."""
    about_tasks = TaskRoutes(receiver, lifecycle, gate)
    follows = about_tasks.may_follow

    async def webhooks(request: Request) -> Response:
        runtime = await lifecycle.runtime()
        records = await runtime.queries.received(limit=_limit(request, 100), most_bytes=_MOST_BYTES)
        # The bodies are JSON already: to decode and encode them again would hold up the answers to MoRAG.
        return Response(b"[%b]" % b",".join(map(_webhook, records)), media_type="application/json")

    async def clear(_: Request) -> Response:
        await (await lifecycle.runtime()).queries.hide_all()
        return JSONResponse({"status": "cleared"})

    async def events(request: Request) -> Response:
        limit = _limit(request, 50)
        state = request.query_params.get("state")
        if state is not None and state not in _STATES:
            return JSONResponse({"detail": f"state is none of {', '.join(_STATES)}"}, 422)
        records = await receiver.events.list(limit=limit, state=state)
        return JSONResponse({"events": [described(record) for record in records]})

    async def tasks(request: Request) -> Response:
        return await about_tasks.list(request, limit=_limit(request, 50))

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
            Route("/api/tasks", _guarded(tasks, access, "read"), methods=["GET"]),
            Route(
                "/api/tasks/{task_id}/events",
                _guarded(about_tasks.events, access, "read", or_else=follows),
                methods=["GET"],
            ),
            Route("/api/tasks/{task_id}", _guarded(about_tasks.one, access, "read", or_else=follows), methods=["GET"]),
            Route("/health/live", live, methods=["GET"]),
            Route("/health/ready", _answering(ready), methods=["GET"]),
            *dashboard_routes(desk_of(receiver, access=access, lifecycle=lifecycle), access.sessions),
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
    """What a sender, or whoever asks for our health, may know of trouble on our side.

    That is our own words. Those of the database may name hosts and users; they come behind a colon, for the log alone.
    """
    if isinstance(error, InboxUnavailable):
        return str(error).partition(": ")[0]
    return "the receiver is not set up correctly"


def _guarded(
    endpoint: Endpoint, access: Access, wanted: Right, *, or_else: Callable[[Request], Awaitable[bool]] | None = None
) -> Endpoint:
    async def guarded(request: Request) -> Response:
        try:
            right = await access.right(request)
            if right is None and or_else is not None and await or_else(request):
                right = "read"
        except Exception:  # the application's own function
            logger.exception("authorize failed")
            return JSONResponse({"detail": "who may look inside cannot be found out"}, 503)
        if right is None:
            return JSONResponse({"detail": access.advice}, 403)
        if wanted == "act" and right != "act":
            return JSONResponse({"detail": "you may look, and not act"}, 403)
        if wanted == "act" and not comes_from_us(request):
            # The application's own session may be a cookie that a browser sends along whoever asks.
            return JSONResponse({"detail": "a page of another site may not act here"}, 403)
        return await answering(request)

    answering = _answering(endpoint)
    return guarded


def _answering(endpoint: Endpoint) -> Endpoint:
    async def answering(request: Request) -> Response:
        try:
            return await endpoint(request)
        except ValueError as error:
            return JSONResponse({"detail": str(error)}, 422)
        except (InboxUnavailable, ConfigurationError) as error:
            logger.error("the inbox cannot be asked: %s", error)
            return JSONResponse(
                {"detail": for_anybody(error), "status": "unavailable"}, 503, headers={"retry-after": "1"}
            )

    return answering


def _webhook(record: Record) -> bytes:
    about = {"received_at": as_text(record.received_at), "headers": dict(record.headers)}
    return b'{"payload":%b,%b' % (record.body or b"null", json.dumps(about).encode()[1:])


def _run(run: HandlerRun) -> dict[str, Any]:
    moments = {
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "next_attempt_at": run.next_attempt_at,
    }
    return {
        "handler": run.handler,
        "state": run.state,
        "attempts": run.attempts,
        "error": run.error,
        **{key: _iso(moment) for key, moment in moments.items()},
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else as_text(moment)


def _limit(request: Request, default: int) -> int:
    """How many are asked for. Raises ValueError for what is no number from 1 to 1000."""
    given = request.query_params.get("limit", str(default))
    if not (given.isascii() and given.isdigit() and len(given) <= len(str(_MOST)) and 1 <= int(given) <= _MOST):
        raise ValueError(f"limit is no number from 1 to {_MOST}")
    return int(given)
