"""From an arrival to what is stored of it, whether it just came or waited in quarantine."""

from __future__ import annotations

from morag_client.inbox.rows import Arrival, EventRow, event_row
from morag_client.wire.decoding import decode_object
from morag_client.wire.identity import task_key
from morag_client.wire.parsing import Reading, read_payload


def understand(arrival: Arrival) -> tuple[EventRow, Reading]:
    """The row of the event that a delivery tells of, and what it says. Raises MalformedBody and InvalidPayload."""
    delivery = arrival.delivery
    reading = read_payload(decode_object(delivery.body), query=delivery.query)
    key = task_key(tenant=arrival.tenant, task_id=reading.stated_task_id)
    return event_row(arrival, reading, task_key=key), reading
