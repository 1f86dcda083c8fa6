"""An inbox on a real database, without a receiver around it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import deliveries

from morag_client.errors import DeliveryRejected
from morag_client.inbox.database import locate
from morag_client.inbox.inbox import Arrival, EventRow, Inbox, Stored
from morag_client.inbox.rows import event_row, now
from morag_client.wire.decoding import decode_object
from morag_client.wire.identity import delivery_identity, task_key
from morag_client.wire.parsing import read_payload


def nothing(record_id: int, note: Any) -> None:
    """Nobody is told of new records."""


@contextlib.asynccontextmanager
async def opened(
    url: str, *, prefix: str = "", commit_timeout: float = 3.0, on_stored: Callable[[int, Any], None] = nothing
) -> AsyncIterator[Inbox]:
    inbox = Inbox(locate(url), prefix=prefix, commit_timeout=commit_timeout, on_stored=on_stored)
    await inbox.open()
    try:
        yield inbox
    finally:
        await inbox.close()


def arrival(body: bytes, *, tenant: str = "") -> Arrival:
    identity = delivery_identity(tenant=tenant, body=body, query=None)
    return Arrival(deliveries.delivery(body), identity, tenant, now())


def row(body: bytes, *, tenant: str = "") -> EventRow:
    reading = read_payload(decode_object(body))
    key = task_key(tenant=tenant, task_id=reading.stated_task_id)
    return event_row(arrival(body, tenant=tenant), reading, task_key=key)


async def record(inbox: Inbox, body: bytes, *, tenant: str = "", note: Any = None) -> Stored:
    return await inbox.record(arrival(body, tenant=tenant), row(body, tenant=tenant), note)


async def quarantine(inbox: Inbox, body: bytes, *problems: str, tenant: str = "") -> None:
    await inbox.quarantine(arrival(body, tenant=tenant), DeliveryRejected(*problems))


async def rows_of(inbox: Inbox, table: str, columns: str = "*") -> list[Any]:
    """What a table holds, asked in plain SQL, in the order of the first column."""
    async with inbox.database.reading() as connection:
        name = getattr(inbox.database.tables, table).name
        return list((await connection.exec_driver_sql(f"SELECT {columns} FROM {name} ORDER BY 1")).all())  # noqa: S608
