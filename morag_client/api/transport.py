"""What every HTTP client here has in common."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from morag_client.errors import ConfigurationError

# A proxy from the environment is for the world outside: it could not reach this machine's own ports.
DIRECT: Final[Mapping[str, None]] = MappingProxyType(
    {f"all://{host}": None for host in ("localhost", "127.0.0.1", "[::1]")}
)
"""httpx2 `mounts` by which loopback addresses are reached without a proxy."""


def require_url(url: str, *, advice: str) -> str:
    """The URL as given. Raises ConfigurationError, with the advice, for one that nothing can be sent to."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigurationError(f"{url!r} is no URL that can be reached: {advice}")
    return url


def without_credentials(url: str) -> str:
    """The URL without user and password, fit to be shown."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
