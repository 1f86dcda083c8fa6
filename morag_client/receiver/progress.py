"""Who may follow whose progress: by a signed token, by the application's own sessions, or on a developer's machine."""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from morag_client.config import Settings
from morag_client.errors import AuthenticationError, ConfigurationError
from morag_client.progress.scopes import Scope, scope_of
from morag_client.receiver.access import is_local
from morag_client.receiver.webhook_urls import moment_after
from morag_client.wire.progress_token import ProgressSigner
from morag_client.wire.signature import keys_of

Scopes = Iterable[Scope | Mapping[str, Any]] | Scope | Mapping[str, Any] | None
AuthorizeProgress = Callable[[HTTPConnection], Awaitable[Scopes] | Scopes]

DEFAULT_AGE: Final = timedelta(days=1)
_EVERYTHING: Final = Scope("all", None)
_MOST_SCOPES: Final = 100


class ProgressGate:
    """Finds out what somebody may follow. A token that is sent must be good, whatever else would vouch."""

    def __init__(self, settings: Settings, *, authorize: AuthorizeProgress | None) -> None:
        if authorize is not None and not callable(authorize):
            raise ConfigurationError(f"authorize_progress= takes a function that returns scopes, not {authorize!r}")
        self._signer = None if settings.signing_key is None else _signer(settings)
        self._authorize = authorize
        self._inspect = settings.inspect
        self._origins = frozenset(settings.progress_origins or ())

    async def scopes(self, connection: Any, auth: Any) -> Sequence[Scope]:
        """What may be followed over an ASGI connection; `auth` is what a Socket.IO client sends along.

        Raises AuthenticationError with the reason, and what the application's own function raises.
        """
        token = auth.get("token") if isinstance(auth, dict) else None
        if token is not None:
            return [self._of_token(token)]
        request = HTTPConnection(connection)
        if self._authorize is not None:
            allowed = self._authorize(request)
            if inspect.isawaitable(allowed):
                allowed = await allowed
            if scopes := _as_scopes(allowed):
                return scopes
        if self._inspect and is_local(request):
            return [_EVERYTHING]
        raise AuthenticationError(self._advice)

    async def of_bearer(self, request: HTTPConnection) -> Sequence[Scope]:
        """What may be followed by a request: with `Authorization: Bearer` and a token, or as `scopes` says."""
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        auth = {"token": token.strip()} if kind.lower() == "bearer" else None
        return await self.scopes(request.scope, auth)

    def admits_origin(self, origin: str | None, environ: Mapping[str, Any]) -> bool:
        """Whether a page of that origin may connect: those of this host, and those that were named."""
        if not origin:
            return False
        own = str(environ.get("HTTP_HOST", "")).lower()
        try:
            host = urlsplit(origin).netloc.lower()
        except ValueError:
            return False
        # Whether the outermost server spoke TLS is not always known here; a Host has no path to be confused with.
        return origin in self._origins or (bool(host) and host == own)

    def _of_token(self, token: Any) -> Scope:
        if self._signer is None:
            raise AuthenticationError("the token cannot be proven: no signing_key is configured")
        if not isinstance(token, str):
            raise AuthenticationError("the token is no progress token")
        try:
            return scope_of(self._signer.read(token, now=time.time()))
        except ConfigurationError:
            raise AuthenticationError("the token was made for something else") from None

    @property
    def _advice(self) -> str:
        if self._inspect:
            return "a token is missing; without one, progress is open to pages of this machine itself only"
        return "a token is missing: auth: {token} takes what receiver.progress_token(…) made"


def make_token(settings: Settings, scope: Scope, *, max_age: float | timedelta) -> str:
    """A token for a scope, good for so long (seconds). Raises ConfigurationError where there is no key."""
    if settings.signing_key is None:
        raise ConfigurationError(
            "there is no key to sign a progress token with; set signing_key= (MORAG_SIGNING_KEY), a long random text"
        )
    return _signer(settings).sign(scope.as_object(), expires_at=moment_after(max_age))


def _signer(settings: Settings) -> ProgressSigner:
    return ProgressSigner(keys_of("signing key", [key.get_secret_value() for key in settings.signing_key or ()]))


def _as_scopes(allowed: Any) -> list[Scope]:
    """What an application's function returned. Raises ConfigurationError where that is no scope."""
    if allowed is None or allowed is False:
        return []
    one = isinstance(allowed, Scope | Mapping)
    scopes = [each if isinstance(each, Scope) else scope_of(dict(each)) for each in ([allowed] if one else allowed)]
    if len(scopes) > _MOST_SCOPES:
        raise ConfigurationError(f"authorize_progress= returned {len(scopes)} scopes; {_MOST_SCOPES} are the most")
    return scopes
