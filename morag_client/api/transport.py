"""What every HTTP client here has in common."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

import httpx2

from morag_client.errors import ConfigurationError

_PORTS: Final = 65536

# A proxy from the environment is for the world outside: it could not reach this machine's own ports.
DIRECT: Final[Mapping[str, None]] = MappingProxyType(
    {f"all://{host}": None for host in ("localhost", "127.0.0.1", "[::1]")}
)
"""httpx2 `mounts` by which loopback addresses are reached without a proxy."""


def require_url(url: str, *, advice: str) -> str:
    """The URL as given. Raises ConfigurationError, with the advice, for one that nothing can be sent to."""
    try:
        parsed = httpx2.URL(url)
        # As the resolver will: it raises UnicodeError, not OSError, for a name that cannot be.
        named = bool(parsed.host.encode("idna"))
        usable = named and parsed.scheme in {"http", "https"} and (parsed.port or 1) < _PORTS
    except (httpx2.InvalidURL, ValueError):
        usable = False
    if not usable:
        raise ConfigurationError(f"{url!r} is no URL that can be reached: {advice}")
    return url


def require_token(token: str, *, name: str) -> str:
    """The token as given. Raises ConfigurationError, without showing it, for one that no header can carry."""
    if not token.strip() or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigurationError(
            f"the {name} is blank, or holds a blank, a line end or another character that no header can carry"
        )
    return token


def without_credentials(url: str) -> str:
    """The URL without user and password, fit to be shown."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
