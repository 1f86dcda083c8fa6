"""Coming in, and going: who asks, with which right, and the password."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from morag_client.dashboard.attempts import Attempts
from morag_client.dashboard.desk import Desk
from morag_client.dashboard.guard import Guard, Refused, answering, asked
from morag_client.dashboard.sessions import Sessions, comes_from_us

logger = logging.getLogger("morag_client.dashboard")


class Visits:
    """The routes around a visit. `clock` only goes forward (seconds)."""

    def __init__(
        self, desk: Desk, guard: Guard, sessions: Sessions, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._desk = desk
        self._guard = guard
        self._sessions = sessions
        self._attempts = Attempts()
        self._clock = clock

    def routes(self) -> list[Route]:
        return [
            Route("/dashboard/api/session", answering(self._session), methods=["GET"]),
            Route("/dashboard/api/login", answering(self._login), methods=["POST"]),
            Route("/dashboard/api/logout", answering(self._logout), methods=["POST"]),
        ]

    async def _session(self, request: Request) -> Response:
        """What whoever asks may do here, and what the page needs to know to offer just that."""
        right = await self._guard.right(request)
        if right is None:
            raise self._guard.closed()
        session = self._sessions.of(request)
        is_new = session is None
        if session is None:
            session = self._sessions.new()
        response = JSONResponse(
            {
                "right": right,
                "name": session.name,
                "by_password": session.right is not None,
                "csrf": self._sessions.csrf(session) if right == "act" else None,
                "can_reconcile": self._desk.reconcile is not None,
                "has_handlers": self._desk.has_handlers,
                "webhook": self._desk.webhook,
                "api_url": self._desk.api_url,
                "has_progress": self._desk.has_progress,
                "progress_token": self._desk.progress_token(),
            }
        )
        if is_new:
            self._sessions.keep(response, session, request=request)
        return response

    async def _login(self, request: Request) -> Response:
        if not comes_from_us(request):
            raise Refused(403, "this does not come from the dashboard itself")
        given = await asked(request)
        password, name = given.get("password"), given.get("name", "")
        if not isinstance(password, str) or not isinstance(name, str) or not self._sessions.has_password:
            raise Refused(422, "there is nothing to log in with")
        peer = request.client.host if request.client is not None else ""
        if wait := self._attempts.wait(peer, now=self._clock()):
            seconds = math.ceil(wait)
            raise Refused(429, f"too many attempts; wait {seconds} seconds", wait=seconds)
        if not self._sessions.opens(password):
            self._attempts.failed(peer, now=self._clock())
            logger.warning("somebody at %s tried a wrong password of the dashboard", peer)
            raise Refused(401, "that is not the password", login=True)
        self._attempts.succeeded(peer)
        response = JSONResponse({"status": "welcome"})
        self._sessions.keep(response, self._sessions.new(name=name, right="act"), request=request)
        return response

    async def _logout(self, request: Request) -> Response:
        if not comes_from_us(request):
            raise Refused(403, "this does not come from the dashboard itself")
        response = JSONResponse({"status": "gone"})
        self._sessions.end(response, request=request)
        return response
