"""Webhook bodies as files: the guide's examples, and the shapes that MoRAG's releases r1 to r3 really send."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
GUIDE = sorted(path.stem for path in (HERE / "guide").glob("*.json"))
RELEASES = sorted(path.stem for path in (HERE / "releases").glob("*.json"))
ALL = [*GUIDE, *RELEASES]


def path_of(name: str) -> Path:
    return HERE / ("guide" if name in GUIDE else "releases") / f"{name}.json"


def body(name: str) -> bytes:
    return path_of(name).read_bytes()


def payload(name: str) -> dict[str, Any]:
    """A fresh copy each time, to be changed at will."""
    return json.loads(body(name))


def as_body(value: object) -> bytes:
    return json.dumps(value).encode()
