"""What every HTTP client here has in common."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

# A proxy from the environment is for the world outside: it could not reach this machine's own ports.
DIRECT: Final[Mapping[str, None]] = MappingProxyType(
    {f"all://{host}": None for host in ("localhost", "127.0.0.1", "[::1]")}
)
"""httpx2 `mounts` by which loopback addresses are reached without a proxy."""
