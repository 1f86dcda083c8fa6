"""Faults of a pipeline's course: what is sent, how often, when, and in which order."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from uuid import NAMESPACE_URL, uuid5

from morag_client.errors import ConfigurationError
from morag_client.events.catalog import canonical_pattern, matches
from morag_client.testing.faults.choosing import Striking, require_number, require_pattern
from morag_client.testing.faults.shipment import Shipment, Source

_MOST_COPIES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate(Striking):
    """The same bytes come so many `times` in all: one after the other, or `concurrently`."""

    times: int = 2
    concurrently: bool = False

    def check(self) -> None:
        require_number(self.times, option="times", least=2, most=_MOST_COPIES)

    def struck(self, shipment: Shipment, dice: Random) -> Iterator[Shipment]:  # noqa: ARG002
        if not self.concurrently:
            return itertools.repeat(shipment, self.times)
        beside = itertools.repeat(replace(shipment, beside=True), self.times - 1)
        return itertools.chain(beside, [shipment])


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop(Striking):
    """It is never sent."""

    def struck(self, shipment: Shipment, dice: Random) -> Iterator[Shipment]:  # noqa: ARG002
        return iter(())


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay(Striking):
    """It starts so many `seconds` later, and what comes behind it waits; or it is `overtaken`."""

    seconds: float = 0.5
    overtaken: bool = False

    def check(self) -> None:
        require_number(self.seconds, option="seconds", least=0)

    def struck(self, shipment: Shipment, dice: Random) -> Iterator[Shipment]:  # noqa: ARG002
        yield replace(shipment, after=shipment.after + self.seconds, beside=shipment.beside or self.overtaken)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reorder:
    """Each `window` of events that follow each other is shuffled: none arrives further from its place than that."""

    window: int = 4

    def __post_init__(self) -> None:
        require_number(self.window, option="window", least=2)

    def strike(self, source: Source, dice: Random) -> Source:
        """The same pipeline with this fault in it."""

        def run(task_id: str) -> Iterator[Shipment]:
            coming = source(task_id)
            while held := list(itertools.islice(coming, self.window)):
                dice.shuffle(held)
                yield from held

        return run


@dataclass(frozen=True, slots=True, kw_only=True)
class Interleave:
    """Two tasks take turns, event by event: the one that was asked for, and a twin of it under another id."""

    def strike(self, source: Source, dice: Random) -> Source:  # noqa: ARG002
        """The same pipeline with this fault in it."""

        def run(task_id: str) -> Iterator[Shipment]:
            turns = itertools.zip_longest(source(task_id), source(twin_of(task_id)))
            return (shipment for turn in turns for shipment in turn if shipment is not None)

        return run


def twin_of(task_id: str) -> str:
    """The id of the task that takes turns with this one; always the same."""
    return str(uuid5(NAMESPACE_URL, f"morag-client:twin:{task_id}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """The producer dies when it has sent such an event, and begins the task anew: same id, new times."""

    after: str = ""

    def __post_init__(self) -> None:
        if not self.after:
            raise ConfigurationError("say after which event, as in after=chunking.completed")
        require_pattern(self.after, option="after")

    def strike(self, source: Source, dice: Random) -> Source:  # noqa: ARG002
        """The same pipeline with this fault in it."""
        pattern = canonical_pattern(self.after)

        def run(task_id: str) -> Iterator[Shipment]:
            for shipment in source(task_id):
                yield shipment
                if matches(pattern, shipment.message.event):
                    yield from source(task_id)
                    return

        return run
