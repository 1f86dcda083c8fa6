"""Inserting a batch of events into SQLite, past SQLAlchemy's statement machinery.

This is the acknowledging insert: every delivery waits for it. It is one small statement that the driver runs for each
row: a single statement of many rows made the whole receiver a tenth slower. Through SQLAlchemy Core it is a third
slower (docs/explanation/performance.md).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from morag_client.inbox.database import Database
from morag_client.inbox.rows import EventRow

_TIMESTAMP: Final = EventRow._fields.index("timestamp")
_RECEIVED_AT: Final = EventRow._fields.index("received_at")
_TEXT_LENGTH: Final = len("2024-01-15 10:34:00.000000")


class SqliteInsertion:
    """Stores batches of events, each in one commit, in the thread that writes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        columns = ", ".join(f'"{name}"' for name in EventRow._fields)
        marks = ", ".join("?" * len(EventRow._fields))
        self._table = database.tables.events.name
        self._statement = f'INSERT INTO "{self._table}" ({columns}) VALUES ({marks}) ON CONFLICT (identity) DO NOTHING'  # noqa: S608

    async def insert(self, rows: Sequence[EventRow]) -> list[tuple[int, bool]]:
        """The id of each row's record and whether it is new, once all are committed; the identities must differ.

        Raises sqlite3.Error, DBAPIError or OSError; nothing of the batch is stored then.
        """
        async with self._database.write_lock:
            return await self._database.thread.run(lambda connection: self._insert(connection, rows))

    def is_passing(self, error: Exception) -> bool:
        """Whether the same batch may be taken later: the trouble is the database's state, not a row."""
        said = error.orig if isinstance(error, DBAPIError) else error
        return isinstance(said, (sqlite3.OperationalError, OSError)) or type(said) is sqlite3.DatabaseError

    async def close(self) -> None:
        """Nothing of its own is open."""

    def _insert(self, connection: Connection, rows: Sequence[EventRow]) -> list[tuple[int, bool]]:
        driver: Any = connection.connection.driver_connection
        count = driver.executemany(self._statement, map(_bound, rows)).rowcount
        if count == len(rows):
            # Row ids grow by one within a transaction, and this connection alone is writing.
            last = driver.execute("SELECT last_insert_rowid()").fetchone()[0]
            return [(number, True) for number in range(last - count + 1, last + 1)]
        last = driver.execute(f'SELECT max(id) FROM "{self._table}"').fetchone()[0]  # noqa: S608
        marks = ", ".join("?" * len(rows))
        found = dict(
            driver.execute(
                f'SELECT identity, id FROM "{self._table}" WHERE identity IN ({marks})',  # noqa: S608
                [row.identity for row in rows],
            ).fetchall()
        )
        return [(found[row.identity], found[row.identity] > last - count) for row in rows]


def _bound(row: EventRow) -> list[Any]:
    """The row's values, with its moments, which are in UTC, as SQLAlchemy writes and reads them in SQLite."""
    values: list[Any] = list(row)
    timestamp = values[_TIMESTAMP]
    if timestamp is not None:
        values[_TIMESTAMP] = timestamp.isoformat(" ", "microseconds")[:_TEXT_LENGTH]
    values[_RECEIVED_AT] = values[_RECEIVED_AT].isoformat(" ", "microseconds")[:_TEXT_LENGTH]
    return values
