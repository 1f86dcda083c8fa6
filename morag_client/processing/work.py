"""A record on its way through its handlers."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from morag_client.errors import DeliveryRejected
from morag_client.events.types import Event
from morag_client.inbox.lanes import Claimable, Granted
from morag_client.inbox.queries import Record
from morag_client.wire.answer import SOURCE, read_answered
from morag_client.wire.decoding import decode_object
from morag_client.wire.parsing import Reading, read_payload


class Work(NamedTuple):
    """A record with its event.

    `reading` is None where the body, accepted once, cannot be read any more; `problem` says why.
    """

    claimable: Claimable
    reading: Reading | None
    body: bytes
    received_at: datetime
    problem: str | None = None

    @property
    def record_id(self) -> int:
        return self.claimable.record_id

    @property
    def event(self) -> Event | None:
        return None if self.reading is None else self.reading.event


class Turn(NamedTuple):
    """A record whose turn it is: its lane is ours, under this epoch of the fence."""

    work: Work
    granted: Granted
    epoch: int
    deaths: int = 0
    """How many workers in succession died while they held its lane."""


def work_of(record: Record) -> Work:
    """The work that a stored record is, with its event read from its body again."""
    reading, problem = None, None
    if record.body is None:
        problem = "its payload is no longer kept"
    else:
        try:
            payload = decode_object(record.body)
            is_made = record.source == SOURCE
            reading = read_answered(payload) if is_made else read_payload(payload, query=record.query)
            if record.correlation:
                reading.fields["correlation"] = record.correlation
        except DeliveryRejected as error:
            problem = str(error)
    return Work(
        claimable=Claimable(record.id, record.task_key, record.task_id, record.tenant),
        reading=reading,
        body=record.body or b"",
        received_at=record.received_at,
        problem=problem,
    )
