"""From moments to what is shipped: the words of a dialect, signed, with the manners of who sends them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from morag_client.events.types import Dialect
from morag_client.testing.delivering import compose
from morag_client.testing.faults.shipment import Shipment, Source
from morag_client.testing.moments import Moment
from morag_client.testing.senders import Manners, Sender, sender_of
from morag_client.testing.wording import say
from morag_client.testing.wording.words import Words
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
        return None if words is None else self._shipment(words, self._sender(words.dialect), url)

    def source(self, moments: Moments, *, url: str) -> Source:
        """All that the dialect says of a task, as it happens."""
        # Asked once for each dialect: MoRAG's variables do not change on the way.
        sender_for = functools.lru_cache(maxsize=None)(self._sender)

        def ship(task_id: str) -> Iterator[Shipment]:
            for moment in moments(task_id):
                words = say(moment, dialect=self.dialect, now=datetime.now(UTC))
                if words is not None:
                    yield self._shipment(words, sender_for(words.dialect), url)

        return ship

    def _sender(self, dialect: Dialect) -> Sender:
        return sender_of(dialect, as_guide=self.dialect is None, manners=self.manners)

    def _shipment(self, words: Words, sender: Sender, url: str) -> Shipment:
        message = compose(words, url=url, sender=sender, secret=self.secret, bearer_token=self.bearer_token)
        return Shipment(message=message, sender=sender, secret=self.secret)
