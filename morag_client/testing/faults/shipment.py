"""What a fault takes and gives: shipments on their way out of a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from random import Random
from typing import Protocol

from morag_client.testing.delivering import AS_USUAL, Message, Transit
from morag_client.testing.senders import Sender
from morag_client.wire.signature import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipment:
    """A message that is to be delivered, its sender, when, and what befalls it.

    It starts `after` seconds; what comes behind it waits for it to be through, unless it goes `beside`. `transits` are
    those of its first attempts. `secret` is what its signature was made with.
    """

    message: Message
    sender: Sender
    after: float = 0.0
    beside: bool = False
    transits: tuple[Transit, ...] = ()
    secret: Secret | None = field(default=None, repr=False)

    def suffering(self, change: Callable[[Transit], Transit], *, attempts: int) -> Shipment:
        """The shipment whose first attempts suffer this too."""
        known = [*self.transits, *[AS_USUAL] * (attempts - len(self.transits))]
        changed = [change(transit) for transit in known[:attempts]]
        return replace(self, transits=(*changed, *known[attempts:]))


Source = Callable[[str], Iterator[Shipment]]
"""A whole pipeline's shipments for a task's id, each made when it is asked for. Every call is a new run."""


class Fault(Protocol):
    """One thing that goes wrong. It is a frozen dataclass: its fields are the options that spell it.

    One that says `needs_signature` would strike nothing where nothing is signed.
    """

    def strike(self, source: Source, dice: Random) -> Source:
        """The same pipeline with this fault in it."""
