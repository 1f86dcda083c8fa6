"""From an arrival to what is stored of it, whether it just came or waited in quarantine."""

from __future__ import annotations

import json

from morag_client.inbox.rows import Arrival, EventRow, event_row
from morag_client.wire.decoding import decode_object
from morag_client.wire.identity import task_key
from morag_client.wire.parsing import Reading, read_payload
from morag_client.wire.signed_url import REF


def understand(arrival: Arrival) -> tuple[EventRow, Reading]:
    """The row of the event that a delivery tells of, and what it says. Raises MalformedBody and InvalidPayload."""
    delivery = arrival.delivery
    reading = read_payload(decode_object(delivery.body), query=delivery.query)
    ref = None
    if arrival.correlation is not None:
        reading.fields["correlation"] = correlation = json.loads(arrival.correlation)
        ref = correlation.get(REF)
    key = task_key(tenant=arrival.tenant, task_id=reading.stated_task_id, ref=ref)
    return event_row(arrival, reading, task_key=key), reading
