"""How long a real server takes, so that a mock one can take as long."""

from __future__ import annotations

from typing import Final

# Seconds of each step, and seconds more for each MiB of text: the guide's example document took as long.
_SECONDS: Final = {
    "markdown_conversion": (0.5, 12.0),
    "metadata_extraction": (0.3, 1.0),
    "content_processing": (0.9, 8.5),
    "chunking": (0.4, 2.0),
    "graph_extraction": (1.2, 15.0),
    "ingestion": (0.7, 5.0),
}
_MIB: Final = 1024 * 1024


def realistic_seconds(step: str, *, size_bytes: int) -> float:
    """How long a step takes for a document of this size on a real server."""
    least, per_mib = _SECONDS[step]
    return least + per_mib * size_bytes / _MIB


def realistic_total(*, size_bytes: int) -> float:
    """How long a whole task takes, in seconds."""
    return sum(realistic_seconds(step, size_bytes=size_bytes) for step in _SECONDS)
