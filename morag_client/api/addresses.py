"""Which URL is asked: one below MoRAG's base URL, or another of the same origin, and never one elsewhere."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

import httpx2

from morag_client.errors import ConfigurationError

_PORTS: Final = {"http": 80, "https": 443}
_ABSOLUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|[/\\]{2}")


def address(base: str, place: str) -> str:
    """The URL to ask: a path as it lies below the base URL, or a URL of the same origin.

    Raises ConfigurationError for a URL of another origin, where the API key must not go, and for what is none.
    """
    path = place.partition("?")[0]
    if ".." in re.split(r"[/\\]", unquote(path)):
        raise ConfigurationError(f"{_shown(place)} leads upwards; take the URL that MoRAG named")
    if not _ABSOLUTE.match(place):
        return f"/{place.lstrip('/')}".partition("#")[0]
    try:
        wanted, known = httpx2.URL(place), httpx2.URL(base)
        is_same = _origin(wanted) == _origin(known) and not wanted.userinfo
    except (httpx2.InvalidURL, ValueError):
        is_same = False
    if not is_same:
        raise ConfigurationError(
            f"{_shown(place)} is not at {base}, and the API key is sent nowhere else: "
            "take the relative URL, or set base_url= or MORAG_API_URL to the server that has it"
        )
    return place.partition("#")[0]


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or _PORTS.get(url.scheme)


def _shown(place: str) -> str:
    """A URL without its query, and without what may be a password."""
    return repr(re.sub(r"//[^/]*@", "//", place.partition("?")[0])[:200])
