"""The mock server's HTTP side: a profile's routes behind the API key, and FastAPI's way to say no."""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from morag_client.testing.mock.asking import Invalid, as_detail
from morag_client.testing.mock.deliveries import DeliveryLog


def mock_app(*, routes: Iterable[BaseRoute], log: DeliveryLog, api_key: str) -> Starlette:
    """The app of these routes and of `/_mock/deliveries`."""

    async def deliveries(_request: Request) -> Response:
        return JSONResponse(log.as_json())

    return Starlette(
        routes=[*routes, Route("/_mock/deliveries", deliveries)],
        middleware=[Middleware(_RequireKey, api_key=api_key)],
        exception_handlers={HTTPException: as_detail, Invalid: as_detail},
    )


def gone_routes() -> list[Route]:
    """What r3 no longer has."""

    async def gone(request: Request) -> Response:
        raise HTTPException(410, f"{request.url.path} is gone: use /api/v1/stages instead")

    methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    return [
        Route("/api/v1/process", gone, methods=methods),
        Route("/api/v1/ingest", gone, methods=methods),
        Route("/api/v1/ingest/{rest:path}", gone, methods=methods),
    ]


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
