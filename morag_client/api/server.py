"""Which server a client talks to, and as whom: from arguments and from the environment."""

from __future__ import annotations

import math
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2

from morag_client.api.releases import ApiVersion, require_version
from morag_client.api.requests import Head, Request
from morag_client.api.transport import DIRECT, require_token, require_url, without_credentials
from morag_client.errors import ApiError, ConfigurationError, NotUnderstood, TimedOut, Unreachable

DEFAULT_URL: Final = "http://localhost:8000"
_UNSENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A MoRAG server; `url` has no credentials in it, `timeout_seconds` holds for each wait."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
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

    def failure(self, error: httpx2.HTTPError | httpx2.InvalidURL, request: Request) -> ApiError:
        """What a failure of the HTTP client means."""
        if isinstance(error, httpx2.TimeoutException):
            return TimedOut(
                f"MoRAG at {self.url} did not answer {request.asked} in time: try again, or raise timeout_seconds=",
                is_unsent=isinstance(error, _UNSENT),
            )
        said = str(error) or type(error).__name__
        if isinstance(error, httpx2.RemoteProtocolError | httpx2.DecodingError):
            hint = "the connection broke, or what is there does not speak HTTP"
        else:
            hint = "is it running? Set base_url= or MORAG_API_URL to where it is"
        if isinstance(error, httpx2.InvalidURL):
            return NotUnderstood(f"{request.asked} is no URL that can be asked ({said})")
        return Unreachable(
            f"MoRAG at {self.url} could not be reached ({said}): {hint}", is_unsent=isinstance(error, _UNSENT)
        )


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
        api_version=require_version(api_version),
        timeout_seconds=timeout_seconds,
        attempts=attempts,
        ssl_context=ssl_context,
    )


def head_of(response: httpx2.Response) -> Head:
    """The beginning of an answer; of a header that comes twice, both."""
    headers: dict[str, str] = {}
    for name, value in response.headers.items():
        headers[name.lower()] = value
    return Head(status_code=response.status_code, headers=headers)


def _authorization(url: str, key: str | None) -> dict[str, str]:
    if key:
        return {"Authorization": f"Bearer {require_token(key, name='API key')}"}
    parsed = httpx2.URL(url)
    if not parsed.userinfo:
        return {}
    auth = httpx2.BasicAuth(parsed.username, parsed.password)
    request = next(auth.auth_flow(httpx2.Request("GET", DEFAULT_URL)))
    return {"Authorization": request.headers["Authorization"]}


MOUNTS: Final = DIRECT
