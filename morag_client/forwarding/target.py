"""Where events are passed on to. The URL is a secret: whoever has a Slack hook's can post by it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from morag_client.config import is_loopback
from morag_client.errors import ConfigurationError
from morag_client.forwarding.addresses import refusal

_PORTS: Final = {"http": 80, "https": 443}
_EXAMPLE: Final = "give it like https://hooks.example.com/services/…"
_HOST: Final = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*|[0-9a-f:.]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Target:
    """A URL to post to, taken apart. `path` has the query in it; `private` says that its host was allowed by name."""

    scheme: str
    host: str
    port: int
    path: str = field(repr=False)
    private: bool

    @property
    def shown(self) -> str:
        """The host, with the port where it is not the usual one: all of the URL that may be shown."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def secrets(self) -> list[str]:
        """What of the URL may be shown nowhere, as it stands there and decoded."""
        path, _, query = self.path.partition("?")
        parts = [self.path, path, query, *path.split("/"), *(value for _, value in parse_qsl(query))]
        return [part for part in (*parts, *map(unquote, parts)) if part not in {"", "/"}]


def target_of(url: str, *, allow_private: str | Iterable[str]) -> Target:
    """The target that a URL names. Raises ConfigurationError, without showing the URL, for one that must not be it."""
    parts, host, port = _taken_apart(url)
    allowed = _allowed(allow_private)
    private = bool({(host, None), (host, port)} & allowed)
    if parts.scheme == "http" and not private:
        raise ConfigurationError(
            f"to= is not https, and whoever is on the way to {host} could read the events; give an https URL, or name"
            f" the host if it is your own: allow_private=[{host!r}]"
        )
    _refuse_address(host, private=private)
    path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    return Target(parts.scheme, host, port, path, private)


def _taken_apart(url: object) -> tuple[SplitResult, str, int]:
    if not isinstance(url, str) or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise ConfigurationError(f"to= is no URL; {_EXAMPLE}")
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        raise ConfigurationError(f"to= is no URL; {_EXAMPLE}") from None
    if parts.scheme not in _PORTS or _HOST.fullmatch(host) is None or port == 0:
        raise ConfigurationError(f"to= is no URL that can be posted to; {_EXAMPLE}")
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError("to= has a user's name or password in it; give headers={'Authorization': …} for them")
    if "#" in url:
        raise ConfigurationError("to= has a part behind a #, which is never sent; leave it out")
    return parts, host, port or _PORTS[parts.scheme]


def _allowed(hosts: object) -> set[tuple[str, int | None]]:
    several = [hosts] if isinstance(hosts, str) else hosts
    if not isinstance(several, Iterable):
        raise ConfigurationError(
            f"allow_private= takes the hosts that may be private, by name, not {hosts!r}; give ['n8n.internal']"
        )
    return {_host_and_port(host) for host in several}


def _host_and_port(entry: object) -> tuple[str, int | None]:
    text = f"[{entry}]" if isinstance(entry, str) and entry.count(":") > 1 and "[" not in entry else entry
    try:
        parts = urlsplit(f"//{text}")
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        host, port = "", None
    if not isinstance(entry, str) or _HOST.fullmatch(host) is None or set(entry) & set("/?#@*"):
        raise ConfigurationError("a host of allow_private= is no host; write n8n.internal, 127.0.0.1:5678 or [::1]")
    return host, port


def _refuse_address(host: str, *, private: bool) -> None:
    """What needs no look-up is refused when it is set up."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        kind = "loopback" if is_loopback(host) and not private else None
    else:
        kind = refusal(host, private=private)
    if kind is not None:
        advice = f"name it to allow it: allow_private=[{host!r}]" if kind in {"private", "loopback"} else _EXAMPLE
        raise ConfigurationError(f"to= leads to {host}, which is {kind}; {advice}")
