"""Which server a client talks to, and as whom: from arguments and from the environment."""

from __future__ import annotations

import math
import os
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2

from morag_client.api.releases import ApiVersion, require_version
from morag_client.api.requests import Head, Request
from morag_client.api.transport import DIRECT, require_token, require_url, without_credentials
from morag_client.errors import ApiError, ConfigurationError, NotUnderstood, TimedOut, Unreachable
from morag_client.wire.redaction import REDACTED

DEFAULT_URL: Final = "http://localhost:8000"
_BROKEN: Final = (httpx2.RemoteProtocolError, httpx2.DecodingError, httpx2.ReadError, httpx2.WriteError)
_UNSENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A MoRAG server; `url` has no credentials in it, `timeout_seconds` holds for each wait."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    api_key: str | None = field(repr=False)
    api_version: ApiVersion
    timeout_seconds: float
    attempts: int
    ssl_context: ssl.SSLContext | None = field(repr=False)

    def options(self) -> dict[str, Any]:
        """What the HTTP client is made with."""
        return {
            "base_url": self.url,
            "headers": self.headers,
            "timeout": self.timeout_seconds,
            "verify": self.ssl_context or True,
            "follow_redirects": False,
        }

    def patience(self, request: Request, *, is_long: bool) -> Patience:
        """How long to wait for this request; what is long may take as long as bytes keep coming."""
        return Patience(request, request.timeout_seconds or self.timeout_seconds, is_long=is_long)

    def concealing(self, error: ApiError, request: Request) -> ApiError:
        """The error without the API key and the webhook's URL and token, where the server repeated them."""
        secrets = [secret for secret in (self.api_key, *request.secrets) if secret]
        error.args = tuple(_without(secrets, part) for part in error.args)
        error.detail = _without(secrets, error.detail)
        return error

    def failure(self, error: httpx2.HTTPError | httpx2.InvalidURL, request: Request) -> ApiError:
        """What a failure of the HTTP client means."""
        if isinstance(error, httpx2.TimeoutException):
            return TimedOut(
                f"MoRAG at {self.url} did not answer {request.asked} in time: try again, or raise timeout_seconds=",
                is_unsent=isinstance(error, _UNSENT),
            )
        said = str(error) or type(error).__name__
        if isinstance(error, _BROKEN):
            hint = "the connection broke, or what is there does not speak HTTP"
            if not request.is_idempotent:
                hint += "; MoRAG may have taken it all the same, so look before you send it again"
        else:
            hint = "is it running? Set base_url= or MORAG_API_URL to where it is"
        if isinstance(error, httpx2.InvalidURL):
            return NotUnderstood(f"{request.asked} is no URL that can be asked ({said})")
        return Unreachable(
            f"MoRAG at {self.url} could not be reached ({said}): {hint}", is_unsent=isinstance(error, _UNSENT)
        )


class Patience:
    """How long one request may take: each wait, and, but for what is long, its whole answer once it has begun."""

    def __init__(self, request: Request, seconds: float, *, is_long: bool) -> None:
        self.seconds = seconds
        self._request = request
        self._is_long = is_long
        self._until: float | None = None

    def check(self) -> None:
        """Raises TimedOut where an answer comes too slowly; called with each piece."""
        now = time.monotonic()
        if self._until is None:
            self._until = now + self.seconds
        elif now > self._until and not self._is_long:
            raise TimedOut(f"the answer to {self._request.asked} trickles in: try again, or raise timeout_seconds=")


def server_of(
    *,
    base_url: str | None,
    api_key: str | None,
    api_version: str,
    timeout_seconds: float,
    attempts: int,
    ssl_context: ssl.SSLContext | None,
) -> Server:
    """The server that is meant. Raises ConfigurationError for what cannot work."""
    given = require_url(
        base_url or os.environ.get("MORAG_API_URL") or DEFAULT_URL,
        advice="set base_url= or MORAG_API_URL to http://host:port",
    )
    key = api_key or os.environ.get("MORAG_API_KEY")
    if not 0 < timeout_seconds < math.inf:
        raise ConfigurationError(f"timeout_seconds= is more than 0 and not for ever, not {timeout_seconds!r}")
    if attempts < 1:
        raise ConfigurationError(f"attempts= is 1 or more, not {attempts!r}")
    return Server(
        url=without_credentials(given),
        headers={"Accept-Encoding": "identity", **_authorization(given, key)},
        api_key=key or None,
        api_version=require_version(api_version),
        timeout_seconds=timeout_seconds,
        attempts=attempts,
        ssl_context=ssl_context,
    )


def head_of(response: httpx2.Response) -> Head:
    """The beginning of an answer."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Head(url=str(response.url), status_code=response.status_code, headers=headers)


def _authorization(url: str, key: str | None) -> dict[str, str]:
    parsed = httpx2.URL(url)
    if key and parsed.userinfo:
        raise ConfigurationError(
            "the base URL has a user in it, and there is an API key: both would be the header Authorization; leave one"
        )
    if key:
        return {"Authorization": f"Bearer {require_token(key, name='API key')}"}
    if not parsed.userinfo:
        return {}
    auth = httpx2.BasicAuth(parsed.username, parsed.password)
    request = next(auth.auth_flow(httpx2.Request("GET", DEFAULT_URL)))
    return {"Authorization": request.headers["Authorization"]}


def _without(secrets: list[str], said: Any) -> Any:
    """What was said, without these, however deep they are in it."""
    if isinstance(said, str):
        for secret in secrets:
            said = said.replace(secret, REDACTED)
        return said
    if isinstance(said, list):
        return [_without(secrets, part) for part in said]
    if isinstance(said, dict):
        return {_without(secrets, name): _without(secrets, part) for name, part in said.items()}
    return said


MOUNTS: Final = DIRECT
