"""Where the mock server may go: hosts that were allowed, and no others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import httpx2

from morag_client.api.transport import require_url
from morag_client.errors import ConfigurationError

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """Hosts as they stand in URLs, each with or without a port; None is any host."""

    hosts: frozenset[str] | None

    @classmethod
    def of(cls, hosts: Iterable[str] | None) -> AllowedHosts:
        """Of `example.com`, `127.0.0.1:8001`, `[::1]`. Raises ConfigurationError for what is no host."""
        if hosts is None:
            return cls(None)
        return cls(frozenset(_checked(host) for host in hosts))

    def refusal(self, url: str, *, what: str) -> str | None:
        """Why this URL may not be asked, None where it may. `what` is the URL's name in the sentence."""
        try:
            parsed = httpx2.URL(require_url(url, advice=f"{what} has to start with http:// or https://"))
        except ConfigurationError as error:
            return str(error)
        if self.hosts is None or {_named(parsed), f"{_named(parsed)}:{_port(parsed)}"} & self.hosts:
            return None
        allowed = ", ".join(sorted(self.hosts)) or "none"
        return f"{what} goes to {_named(parsed)}, which is not allowed (allowed: {allowed})"


LOOPBACK = AllowedHosts(frozenset({"localhost", "127.0.0.1", "[::1]"}))


def _checked(host: str) -> str:
    try:
        parsed = httpx2.URL(require_url(f"http://{host}", advice="an allowed host is a name or an address"))
    except ConfigurationError:
        parsed = httpx2.URL("")
    with_port = f"{_named(parsed)}:{parsed.port}" if parsed.port else _named(parsed)
    if "*" in host or not parsed.host or host.lower() not in {with_port, f"{with_port}:80"}:
        raise ConfigurationError(f"{host!r} is no host; write example.com, 127.0.0.1:8001 or [::1]")
    return host.lower()


def _named(url: httpx2.URL) -> str:
    return f"[{url.host}]" if ":" in url.host else url.host


def _port(url: httpx2.URL) -> int:
    return url.port or _PORTS[url.scheme]
