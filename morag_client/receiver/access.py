"""Who may look at the inbox over HTTP: nobody, unless it was opened (decision 3 in docs/ARCHITECTURE.md)."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable
from typing import Final, Literal

from starlette.requests import HTTPConnection, Request

from morag_client.config import is_loopback
from morag_client.dashboard.sessions import Sessions
from morag_client.errors import ConfigurationError

Right = Literal["read", "act"]
Authorize = Callable[[Request], Awaitable[Right | None] | Right | None]

_FORWARDING: Final = re.compile(r".*forwarded.*|via|.*-ip|.*-proto|.*-scheme")
_HOST: Final = re.compile(r"([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?", re.IGNORECASE)


class Access:
    """Decides by the application's own `authorize(request)`, and under `inspect` for developers on this machine."""

    def __init__(self, *, authorize: Authorize | None, inspect: bool, sessions: Sessions) -> None:
        if authorize is not None and not callable(authorize):
            raise ConfigurationError(
                f'authorize= takes a function that returns "read", "act" or None, not {authorize!r}'
            )
        self._authorize = authorize
        self._inspect = inspect
        self.sessions = sessions

    async def right(self, request: Request) -> Right | None:
        """What the request may do: look, also act, or nothing; the most that anybody allows it."""
        allowed = await self._by_application(request), self.sessions.right(request)
        if "act" in allowed or "read" in allowed:
            return "act" if "act" in allowed else "read"
        return "act" if self._inspect and is_local(request) else None

    async def _by_application(self, request: Request) -> Right | None:
        if self._authorize is None:
            return None
        right = self._authorize(request)
        if inspect.isawaitable(right):
            right = await right
        return right if right in ("read", "act") else None  # what an application returns may be anything

    @property
    def advice(self) -> str:
        """What to do for somebody who was turned away."""
        if self.sessions.has_password:
            return "closed; log in at /dashboard"
        if self._inspect:
            return "open to requests from this machine itself only, without a proxy in between"
        return (
            "closed; start with inspect=True (serve --inspect) on a developer's machine, set MORAG_DASHBOARD_PASSWORD"
            " and log in at /dashboard, or pass authorize="
        )


def is_local(request: HTTPConnection) -> bool:
    """Whether somebody at this very machine asks; a proxy, a foreign Host (DNS rebinding) or Origin says no."""
    headers = request.headers
    if any(_FORWARDING.fullmatch(name.replace("_", "-")) for name in headers):
        return False
    if headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
        return False
    if request.client is None or not is_loopback(request.client.host):
        return False
    hosts, origins = headers.getlist("host"), headers.getlist("origin")
    if len(hosts) != 1 or len(origins) > 1:
        return False
    named = [_HOST.fullmatch(place.removeprefix("http://").removeprefix("https://")) for place in (*hosts, *origins)]
    return all(host is not None and is_loopback(host[1].strip("[]")) for host in named)
