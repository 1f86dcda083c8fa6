"""A record on its way through its handlers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from morag_client.errors import DeliveryRejected
from morag_client.events.types import Event
from morag_client.inbox.ownership import Claimable
from morag_client.inbox.queries import Record
from morag_client.wire.decoding import decode_object
from morag_client.wire.parsing import Reading, read_payload


@dataclass(frozen=True, slots=True)
class Work:
    """A record with its event; `done` are the handlers that succeeded before, `attempts` those made so far.

    `reading` is None where the body, accepted once, cannot be read any more; `problem` says why.
    """

    claimable: Claimable
    reading: Reading | None = field(repr=False)
    body: bytes = field(repr=False)
    received_at: datetime
    done: frozenset[str] = frozenset()
    attempts: Mapping[str, int] = field(default_factory=dict)
    problem: str | None = None

    @property
    def record_id(self) -> int:
        return self.claimable.record_id

    @property
    def event(self) -> Event | None:
        return None if self.reading is None else self.reading.event


def work_of(record: Record) -> Work:
    """The work that a stored record is, with its event read from its body again."""
    reading, problem = None, None
    if record.body is None:
        problem = "its payload is no longer kept"
    else:
        try:
            reading = read_payload(decode_object(record.body), query=record.query)
        except DeliveryRejected as error:
            problem = str(error)
    return Work(
        claimable=Claimable(record.id, record.task_key, record.task_id, record.tenant),
        reading=reading,
        body=record.body or b"",
        received_at=record.received_at,
        done=frozenset(run.handler for run in record.runs if run.state == "succeeded"),
        attempts={run.handler: run.attempts for run in record.runs},
        problem=problem,
    )
