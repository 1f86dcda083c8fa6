"""Who may do what on the dashboard, and what becomes of errors."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from morag_client.dashboard.desk import Desk, Right
from morag_client.dashboard.headers import protect
from morag_client.dashboard.sessions import Session, Sessions, comes_from_us
from morag_client.errors import AlreadyReconciling, ConfigurationError, InboxUnavailable, RecordNotFound
from morag_client.inbox.inbox import Inbox

logger = logging.getLogger("morag_client.dashboard")

Endpoint = Callable[[Request], Awaitable[Response]]

_MOST_BYTES: Final = 64 * 1024


class Refused(Exception):
    """The request is answered with this status and these words."""

    def __init__(self, status: int, detail: str, **more: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.more = more


class Guard:
    """Lets through who may, and answers the others."""

    def __init__(self, desk: Desk, sessions: Sessions) -> None:
        self._desk = desk
        self._sessions = sessions

    def reading(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint for whoever may look."""

        async def guarded(request: Request) -> Response:
            if await self.right(request) is None:
                raise self.closed()
            return await endpoint(request)

        return answering(guarded)

    def acting(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint for whoever may act, and means it: a page of ours asks, with the token of its visit."""

        async def guarded(request: Request) -> Response:
            right = await self.right(request)
            if right is None:
                raise self.closed()
            if right != "act":
                raise Refused(403, "you may look, and not act")
            session = self._sessions.of(request)
            token = request.headers.get("x-csrf-token", "")
            if not comes_from_us(request) or session is None or not self._sessions.is_csrf(session, token):
                raise Refused(403, "this does not come from the dashboard itself; load the page again", csrf=True)
            return await endpoint(request)

        return answering(guarded)

    async def right(self, request: Request) -> Right | None:
        """What the request may do, by the application, the machine it comes from, or a password."""
        try:
            return await self._desk.right(request)
        except Exception as error:  # the application's own function
            logger.exception("authorize failed")
            raise Refused(503, "who may look inside cannot be found out") from error

    def closed(self) -> Refused:
        """What whoever may not look is told."""
        if self._sessions.has_password:
            return Refused(401, "a password is needed", login=True)
        return Refused(403, self._desk.advice())

    def who(self, request: Request) -> str:
        """Who acts, for the audit."""
        session: Session | None = self._sessions.of(request)
        user = getattr(request.scope.get("user"), "display_name", "") or ""
        name = (session.name if session is not None else "") or str(user)
        return f"{name} (dashboard)" if name else "dashboard"

    async def inbox(self) -> Inbox:
        """The inbox. Raises InboxUnavailable, also where the receiver could not start."""
        try:
            return await self._desk.inbox()
        except ConfigurationError as error:
            logger.error("the dashboard has no inbox to show: %s", error)
            raise InboxUnavailable("the receiver is not set up correctly") from error


def answering(endpoint: Endpoint) -> Endpoint:
    """The endpoint with answers in the place of errors, and what every answer says to the browser."""

    async def answered(request: Request) -> Response:
        return protect(await _answer(endpoint, request))

    return answered


async def _answer(endpoint: Endpoint, request: Request) -> Response:
    try:
        return await endpoint(request)
    except Refused as refused:
        return JSONResponse({"detail": refused.detail, **refused.more}, refused.status)
    except RecordNotFound as error:
        return JSONResponse({"detail": str(error)}, 404)
    except (ConfigurationError, ValueError) as error:
        return JSONResponse({"detail": str(error)}, 422)
    except AlreadyReconciling as error:
        return JSONResponse({"detail": str(error)}, 409)
    except InboxUnavailable as error:
        logger.error("the dashboard cannot ask the inbox: %s", error)
        # What stands behind the colon are the database's own words.
        return JSONResponse({"detail": str(error).partition(": ")[0]}, 503, headers={"retry-after": "1"})


async def asked(request: Request) -> dict[str, Any]:
    """The JSON object that a request carries. Raises Refused."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "send JSON")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MOST_BYTES:
            raise Refused(413, "that is too much")
    try:
        decoded = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(400, "that is no JSON") from None
    if not isinstance(decoded, dict):
        raise Refused(400, "that is no JSON object")
    return decoded
