"""Signed webhooks, made beforehand by kit/make_bodies.py and kept for the next run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from machine import FOLDER

_MAKER = Path(__file__).resolve().with_name("kit") / "make_bodies.py"
_OFFSET_BYTES = 8
_SUFFIXES = (".bin", ".idx")

APART = 50_001
"""How many requests a duplicate is behind its original; odd, since every second request is one."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A sort of webhooks; whatever the number asked for, the first ones are the same."""

    name: str
    arguments: Sequence[str]


STEPS = Kind("step", ())
PIPELINES = Kind("pipeline", ("--kind", "pipeline"))
DUPLICATES = Kind("step-duplicates", ("--duplicates", "0.5", "--apart", str(APART)))


@dataclass(frozen=True, slots=True)
class Bodies:
    """Signed webhooks, ready to be sent: `path`.bin and `path`.idx."""

    path: Path
    count: int


def prepare_bodies(kind: Kind, *, count: int) -> Bodies:
    """At least so many of them."""
    ready = FOLDER / kind.name
    index = ready.with_suffix(".idx")
    known = _known(index)
    if known >= count:
        return Bodies(ready, known)
    sys.stderr.write(f"== preparing {count} webhooks\n")
    fresh = FOLDER / f"{kind.name}-{os.getpid()}"
    try:
        subprocess.run([sys.executable, _MAKER, fresh, "-n", str(count), *kind.arguments], check=True)
        index.unlink(missing_ok=True)
        for suffix in _SUFFIXES:
            fresh.with_suffix(suffix).replace(ready.with_suffix(suffix))
    finally:
        for suffix in _SUFFIXES:
            fresh.with_suffix(suffix).unlink(missing_ok=True)
    return Bodies(ready, count)


def _known(index: Path) -> int:
    """How many are there, of the maker as it is now."""
    if not index.exists() or index.stat().st_mtime < _MAKER.stat().st_mtime:
        return 0
    return index.stat().st_size // _OFFSET_BYTES - 1
