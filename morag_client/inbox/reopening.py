"""Letting runs wait again, without coming into the way of a worker that is just settling them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import ARRAY, BigInteger, ColumnElement, Text, any_, func, literal, select, update
from sqlalchemy.engine import Connection

from morag_client.events.catalog import canonical_pattern
from morag_client.inbox.asking import checked_text
from morag_client.inbox.clock import database_clock
from morag_client.inbox.database import Database
from morag_client.inbox.lanes import Claimable
from morag_client.inbox.rows import STORED
from morag_client.inbox.settling import RETRYING

BATCH: Final = 500
"""Records in one transaction: the deliveries that arrive meanwhile wait for its end."""

LARGEST_ID: Final = 2**63 - 1
"""The largest id that a database can be asked for."""


class LockedRun(NamedTuple):
    """A run that nobody changes until the end of the transaction."""

    id: int
    handler: str
    state: str


class LockedRecord(NamedTuple):
    """A record that nobody changes until the end of the transaction, with its runs in the order of their ids."""

    id: int
    state: str
    is_pruned: bool
    runs: Sequence[LockedRun]


def among(database: Database, column: ColumnElement[int], numbers: Iterable[int]) -> ColumnElement[bool]:
    """The condition that a number is one of many, as one parameter however many they are."""
    if database.is_sqlite:
        given = func.json_each(literal(str(list(numbers)), Text)).table_valued("value")
        return column.in_(select(given.c.value))
    return column == any_(literal(list(numbers), ARRAY(BigInteger)))


def name_matches(database: Database, column: ColumnElement[str], pattern: str) -> ColumnElement[bool]:
    """The condition that an event's name is one that a pattern of `@on` means. Raises ConfigurationError."""
    pattern = canonical_pattern(checked_text(pattern, of="name"))
    if database.is_sqlite:  # its LIKE takes capitals and small letters for the same
        return column.op("GLOB", is_comparison=True)(literal(pattern.replace("[", "[[]").replace("?", "[?]")))
    for special in ("\\", "%", "_"):
        pattern = pattern.replace(special, f"\\{special}")
    return column.like(pattern.replace("*", "%"), escape="\\")


def lock(
    connection: Connection, database: Database, record_ids: Sequence[int], *conditions: ColumnElement[bool]
) -> list[LockedRecord]:
    """Those of the records for which the conditions hold (still), in the order of their ids.

    Lanes, runs and records are locked in this order, in which a worker writes them too, or both would wait for each
    other.
    """
    events, tasks, runs = database.tables.events, database.tables.tasks, database.tables.runs
    wanted = among(database, events.c.id, record_ids)
    found = connection.execute(select(events.c.id, events.c.task_key).where(wanted))
    lanes = [Claimable(row.id, row.task_key, None, "").lane for row in found]
    connection.execute(select(tasks.c.key).where(tasks.c.key.in_(lanes)).order_by(tasks.c.key).with_for_update())
    of_records = select(runs.c.id, runs.c.record_id, runs.c.handler, runs.c.state).where(
        among(database, runs.c.record_id, record_ids)
    )
    by_record: dict[int, list[LockedRun]] = {}
    for row in connection.execute(of_records.order_by(runs.c.record_id, runs.c.id).with_for_update()):
        by_record.setdefault(row.record_id, []).append(LockedRun(row.id, row.handler, row.state))
    records = select(events.c.id, events.c.state, events.c.body.is_(None).label("is_pruned")).where(wanted, *conditions)
    return [
        LockedRecord(row.id, row.state, bool(row.is_pruned), by_record.get(row.id, ()))
        for row in connection.execute(records.order_by(events.c.id).with_for_update())
    ]


def reset_runs(connection: Connection, database: Database, run_ids: Sequence[int]) -> None:
    """Lets runs be tried again now, as often as if they had never been; their last error stays."""
    _schedule(connection, database, run_ids, state=RETRYING, attempts=0)


def bring_forward(connection: Connection, database: Database, run_ids: Sequence[int]) -> None:
    """Lets runs that are to be tried again, or wait for their handlers to exist, be tried now."""
    _schedule(connection, database, run_ids, state=RETRYING)


def let_retry(connection: Connection, database: Database, record_ids: Sequence[int]) -> None:
    """Makes records `retrying`; those that are `stored` come to their runs anyhow."""
    events = database.tables.events
    if record_ids:
        wanted = among(database, events.c.id, record_ids), events.c.state != STORED
        connection.execute(update(events).where(*wanted).values(state=RETRYING))


def _schedule(connection: Connection, database: Database, run_ids: Sequence[int], **changes: Any) -> None:
    if run_ids:
        runs, clock = database.tables.runs, database_clock(database)
        statement = update(runs).where(among(database, runs.c.id, run_ids))
        connection.execute(statement.values(next_attempt_at=clock, scheduled_at=clock, **changes))
