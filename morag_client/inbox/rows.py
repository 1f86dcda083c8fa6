"""What is stored of an arrival: the columns, cleaned and bounded."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from pydantic_core import to_json

from morag_client.events.names import guide_event_type
from morag_client.inbox.tables import ID_LENGTH, NAME_LENGTH
from morag_client.wire.delivery import Delivery
from morag_client.wire.fields import as_object
from morag_client.wire.identity import placed_in_time
from morag_client.wire.parsing import Reading

TEXT_LENGTH: Final = 8192
_KEPT_HEADERS: Final = frozenset(
    {b"content-type", b"user-agent", b"x-request-id", b"x-forwarded-for", b"x-forwarded-proto"}
)
STORED: Final = "stored"


class EventRow(NamedTuple):
    """A row of `webhook_events` as it is inserted, in the order of the columns that a new row has."""

    identity: bytes
    task_id: str | None
    event_type: str
    step: str | None
    status: str | None
    progress_percent: float | None
    timestamp: datetime | None
    data: str | None
    error_message: str | None
    name: str
    dialect: str
    source: str
    stage: str | None
    document_id: str | None
    correlation: str | None
    task_key: bytes | None
    tenant: str
    path: str
    query: str
    headers: str
    body: bytes
    received_at: datetime
    state: str


class QuarantineRow(NamedTuple):
    """A row of `webhook_quarantine` as it is inserted."""

    status: int
    code: str
    problems: str
    correlation: str | None
    identity: bytes
    tenant: str
    path: str
    query: str
    headers: str
    body: bytes
    received_at: datetime


class Arrival(NamedTuple):
    """An authenticated delivery with what authentication found out about it.

    `correlation` is a JSON object: the application's ids, as signed into the URL; None where that was not signed.
    """

    delivery: Delivery
    identity: bytes
    tenant: str
    received_at: datetime
    correlation: str | None = None


def event_row(arrival: Arrival, reading: Reading, *, task_key: bytes | None) -> EventRow:
    """The row of an event that arrived."""
    delivery, fields = arrival.delivery, reading.fields
    stated, name, dialect = fields.get, fields["name"], fields["dialect"]
    # By place, as the columns are listed above: naming them takes half as long again.
    occurred_at = stated("occurred_at")
    return EventRow(
        placed_in_time(arrival.identity, occurred_at),
        clean(stated("task_id"), ID_LENGTH),
        _event_type(name),
        clean(stated("step"), ID_LENGTH),
        clean(stated("status"), ID_LENGTH),
        stated("progress"),
        occurred_at,
        _stated_data(fields["raw"], dialect),
        clean(stated("error"), TEXT_LENGTH),
        name[:NAME_LENGTH],
        dialect,
        "webhook",
        clean(stated("stage"), ID_LENGTH),
        clean(stated("document_id"), ID_LENGTH),
        arrival.correlation,
        task_key,
        clean(arrival.tenant, ID_LENGTH) or "",
        _bounded_path(delivery.path),
        delivery.query[:TEXT_LENGTH],
        kept_headers(delivery.headers),
        delivery.body,
        arrival.received_at,
        STORED,
    )


def quarantine_row(arrival: Arrival, *, status: int, code: str, problems: Iterable[str]) -> QuarantineRow:
    """The row of an authenticated delivery that could not be understood or stored."""
    delivery = arrival.delivery
    return QuarantineRow(
        status=status,
        code=code,
        problems=json.dumps(list(problems)),
        correlation=arrival.correlation,
        identity=arrival.identity,
        tenant=clean(arrival.tenant, ID_LENGTH) or "",
        path=_bounded_path(delivery.path),
        query=delivery.query[:TEXT_LENGTH],
        headers=kept_headers(delivery.headers),
        body=delivery.body,
        received_at=arrival.received_at,
    )


def clean(text: str | None, length: int) -> str | None:
    """The text without NUL, which PostgreSQL refuses and C programs stop at, and not longer than a column."""
    if text is None:
        return None
    return text.replace("\0", "")[:length] if "\0" in text or len(text) > length else text


def kept_headers(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The headers that are no secret, as a JSON object."""
    return _as_json(tuple([header for header in headers if header[0] in _KEPT_HEADERS]))


@lru_cache(maxsize=256)
def _as_json(headers: tuple[tuple[bytes, bytes], ...]) -> str:
    # A sender's headers hardly ever change.
    return to_json({key: value.decode("latin-1")[:1024] for key, value in headers}).decode()


def now() -> datetime:
    """The present moment, aware and in UTC."""
    return datetime.now(UTC)


def _stated_data(raw: Any, dialect: str) -> str | None:
    """The `data` object of a step as it was sent (the guide's column), without the envelope around it."""
    if dialect in {"envelope", "enveloped_step"}:
        raw = as_object(raw.get("data"))
    data = raw.get("data")
    return to_json(data).decode() if isinstance(data, dict) else None


@lru_cache(maxsize=256)
def _event_type(name: str) -> str:
    return guide_event_type(name)[:NAME_LENGTH]


@lru_cache(maxsize=64)
def _bounded_path(path: str) -> str:
    return quote(path, safe="/%:@!$&'()*+,;=~-._", errors="replace")[:TEXT_LENGTH]
