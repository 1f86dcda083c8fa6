"""What a dialect is given, and what it makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from morag_client.events.types import Dialect
from morag_client.testing.bodies import Json
from morag_client.testing.moments import Moment


@dataclass(frozen=True, slots=True)
class Telling:
    """A moment that is to be told, the time of telling, the ends of the steps before it, and the file's name."""

    moment: Moment
    now: datetime
    story: Sequence[Moment]
    source: str


@dataclass(frozen=True, slots=True)
class Words:
    """A body, its dialect, and the name of the event that a receiver reads in it."""

    event: str
    dialect: Dialect
    body: Json
