"""From moments to what is shipped: the words of a dialect, signed, with the manners of who sends them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from morag_client.events.types import Dialect
from morag_client.testing.delivering import compose
from morag_client.testing.faults.shipment import Shipment, Source
from morag_client.testing.moments import Moment
from morag_client.testing.senders import Manners, sender_of
from morag_client.testing.wording import say
from morag_client.wire.signature import Secret

Moments = Callable[[str], Iterable[Moment]]
"""What happens to a task of this id; every call is a new run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Composer:
    """How a producer speaks and proves itself. `dialect` None is the guide: tasks in the envelope, steps flat."""

    dialect: Dialect | None
    manners: Manners
    secret: Secret | None = field(repr=False)
    bearer_token: str | None = field(repr=False)

    def shipment(self, moment: Moment, *, url: str) -> Shipment | None:
        """What the dialect says of a moment now; None where it says nothing."""
        words = say(moment, dialect=self.dialect, now=datetime.now(UTC))
        if words is None:
            return None
        sender = sender_of(words.dialect, as_guide=self.dialect is None, manners=self.manners)
        message = compose(words, url=url, sender=sender, secret=self.secret, bearer_token=self.bearer_token)
        return Shipment(message=message, sender=sender, secret=self.secret)

    def source(self, moments: Moments, *, url: str) -> Source:
        """All that the dialect says of a task, as it happens."""

        def ship(task_id: str) -> Iterator[Shipment]:
            shipments = (self.shipment(moment, url=url) for moment in moments(task_id))
            return (shipment for shipment in shipments if shipment is not None)

        return ship
