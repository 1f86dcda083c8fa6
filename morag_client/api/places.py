"""Ids and paths of others as parts of a URL's path: they cannot lead elsewhere."""

from __future__ import annotations

from urllib.parse import quote

from morag_client.errors import ConfigurationError


def segment(given: str, *, what: str = "task id") -> str:
    """An id as one part of a path. Raises ConfigurationError for what is none."""
    if given in {"", ".", ".."}:
        raise ConfigurationError(f"{given!r} is no {what}; take the one that MoRAG named")
    return quote(given, safe="")


def segments(path: str) -> str:
    """A path of several parts, each encoded. Raises ConfigurationError for what is none, or leads upwards."""
    parts = path.split("/")
    if not path.strip("/.") or ".." in parts:
        raise ConfigurationError(f"{path!r} is no path of a file of MoRAG's; take the one that MoRAG named")
    return "/".join(quote(part, safe="") for part in parts)
