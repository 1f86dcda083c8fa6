"""An inbox on a real database, without a receiver around it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import deliveries
from sqlalchemy import Connection

from morag_client.errors import DeliveryRejected
from morag_client.inbox.database import Database
from morag_client.inbox.inbox import Inbox
from morag_client.inbox.insertion import SqliteInsertion
from morag_client.inbox.lanes import Claimable, Projection
from morag_client.inbox.location import locate
from morag_client.inbox.ownership import Ownership
from morag_client.inbox.postgres_insertion import PostgresInsertion
from morag_client.inbox.queries import Queries
from morag_client.inbox.rows import Arrival, EventRow, event_row, now
from morag_client.inbox.writer import Insertion, Stored
from morag_client.progress.state import as_values, from_values
from morag_client.wire.decoding import decode_object
from morag_client.wire.identity import delivery_identity, task_key
from morag_client.wire.parsing import read_payload


def nothing(record_id: int, note: Any) -> None:
    """Nobody is told of new records."""


@contextlib.asynccontextmanager
async def opened(
    url: str,
    *,
    prefix: str = "",
    commit_timeout: float = 3.0,
    on_stored: Callable[[int, Any], None] = nothing,
    **settings: Any,
) -> AsyncIterator[Inbox]:
    inbox = Inbox(locate(url), prefix=prefix, commit_timeout=commit_timeout, on_stored=on_stored, **settings)
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


def insertion_into(database: Database) -> Insertion:
    """What stores batches in a database that is open otherwise."""
    return SqliteInsertion(database) if database.is_sqlite else PostgresInsertion(database, patience=3.0)


async def rows_of(inbox: Inbox, table: str, columns: str = "*") -> list[Any]:
    """What a table holds, asked in plain SQL, in the order of the first column."""
    name = getattr(inbox.database.tables, table).name
    statement = f"SELECT {columns} FROM {name} ORDER BY 1"  # noqa: S608
    return await inbox.database.read(lambda connection: list(connection.exec_driver_sql(statement).all()))


async def run_sql(inbox: Inbox, *statements: str) -> None:
    """Changes what is stored, in plain SQL and one transaction."""

    def work(connection: Connection) -> None:
        for statement in statements:
            connection.exec_driver_sql(statement)

    await inbox.database.write(work)


async def claim_as(inbox: Inbox, worker: str, *record_ids: int, lease: float = 30.0) -> Ownership:
    """A worker that has claimed the lanes of these records."""
    ownership = Ownership(inbox.database, worker_id=worker, lease=lease)
    await ownership.beat(hostname="elsewhere", pid=1)
    wanted = [
        Claimable(record.id, record.task_key, record.task_id, record.tenant)
        for record in await Queries(inbox).load(record_ids)
    ]
    _, grants = await ownership.turn(settle=[], release=[], claim=wanted, project=numbering)
    assert len(grants) == len({one.lane for one in wanted})
    return ownership


def numbering(values: Mapping[str, Any], record_ids: Sequence[int]) -> Projection:
    """Counts a task's events and knows nothing else of them."""
    state = from_values(values)
    events: list[tuple[int, bool, Any]] = []
    for _ in record_ids:
        state = replace(state, sequence=state.sequence + 1)
        events.append((state.sequence, False, state))
    return Projection(as_values(state) if events else {}, events, state)
