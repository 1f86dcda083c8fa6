"""What a dialect makes of a moment."""

from __future__ import annotations

from dataclasses import dataclass

from morag_client.events.types import Dialect
from morag_client.testing.bodies import Json


@dataclass(frozen=True, slots=True)
class Words:
    """A body, its dialect, and the name of the event that a receiver reads in it."""

    event: str
    dialect: Dialect
    body: Json
