"""Which shipments a fault strikes, and checks of its numbers."""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from morag_client.errors import ConfigurationError
from morag_client.events.catalog import canonical_pattern, is_known, matches, nearest_known
from morag_client.testing.faults.shipment import Shipment, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Striking(ABC):
    """A fault that strikes shipments one by one: those of these `events` (as for `@on`), a `share` of them (0 to 1)."""

    events: str = "*"
    share: float = 1.0

    def __post_init__(self) -> None:
        require_pattern(self.events, option="events")
        if not 0 < self.share <= 1:
            raise ConfigurationError(f"share={self.share} of all events: say above 0 and up to 1, as in share=0.3")
        self.check()

    def check(self) -> None:  # noqa: B027  # not every fault has options of its own
        """Raises ConfigurationError for options that cannot be meant."""

    @abstractmethod
    def struck(self, shipment: Shipment, dice: Random) -> Iterator[Shipment]:
        """What goes out in the place of a shipment that is struck."""

    def strike(self, source: Source, dice: Random) -> Source:
        """The same pipeline with this fault in it."""
        return functools.partial(self._run, source, dice)

    def _run(self, source: Source, dice: Random, task_id: str) -> Iterator[Shipment]:
        pattern = canonical_pattern(self.events)
        for shipment in source(task_id):
            # Drawn for each one that matches, and for no other: what else is in the plan changes nothing here.
            if matches(pattern, shipment.message.event) and (self.share >= 1 or dice.random() < self.share):
                yield from self.struck(shipment, dice)
            else:
                yield shipment


def require_pattern(pattern: object, *, option: str) -> None:
    """Raises ConfigurationError for a pattern that no known event has."""
    if not isinstance(pattern, str) or not pattern:
        raise ConfigurationError(f"{option}={pattern!r} names no event; write {option}=chunking.completed")
    canonical = canonical_pattern(pattern)
    if not is_known(canonical):
        raise ConfigurationError(
            f"{option}={pattern}: no known MoRAG release sends that; did you mean {nearest_known(canonical)}?"
        )


def require_number(value: float, *, option: str, least: float, most: float = math.inf) -> None:
    """Raises ConfigurationError for a number that is out of its bounds, both included, or infinite."""
    if not least <= value <= most or not math.isfinite(value):
        bounds = f"{least:g} or more" if most == math.inf else f"from {least:g} to {most:g}"
        raise ConfigurationError(f"{option}={value}: it must be {bounds}")
