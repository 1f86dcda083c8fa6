"""Inserting a batch of events into SQLite, past SQLAlchemy's statement machinery.

This is the acknowledging insert: every delivery waits for it. It has a connection and a thread of its own, and one
small statement that the driver runs for each row: a single statement of many rows made the whole receiver a tenth
slower. Through SQLAlchemy Core it is a third slower (docs/explanation/performance.md).
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

from morag_client.inbox.database import Database, configure_sqlite
from morag_client.inbox.rows import EventRow

_TIMESTAMP: Final = EventRow._fields.index("timestamp")
_RECEIVED_AT: Final = EventRow._fields.index("received_at")
_TEXT_LENGTH: Final = len("2024-01-15 10:34:00.000000")
_CHECKPOINT_PAGES: Final = 8000
"""32 MiB of write-ahead log before it is copied into the file: pages of the identities' index change again and again,
and are then copied once. The default of 1,000 costs a quarter of the rows per second."""


class SqliteInsertion:
    """Stores batches of events, each in one commit, from a thread that it owns."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        columns = ", ".join(f'"{name}"' for name in EventRow._fields)
        marks = ", ".join("?" * len(EventRow._fields))
        self._table = database.tables.events.name
        self._statement = f'INSERT INTO "{self._table}" ({columns}) VALUES ({marks}) ON CONFLICT (identity) DO NOTHING'  # noqa: S608
        self._thread = threading.Thread(target=self._serve, name="morag-insertion", daemon=True)
        self._thread.start()

    async def insert(self, rows: Sequence[EventRow]) -> list[tuple[int, bool]]:
        """The id of each row's record and whether it is new, once all are committed; the identities must differ.

        Raises sqlite3.Error; nothing of the batch is stored then.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[tuple[int, bool]]] = loop.create_future()

        def job() -> None:
            try:
                stored, error = self._insert(rows), None
            except BaseException as raised:  # it is raised again where the batch is awaited
                stored, error = [], raised
            try:
                loop.call_soon_threadsafe(_settle, future, stored, error)
            except RuntimeError:  # the loop is gone: so is whoever waited
                pass

        async with self._database.write_lock:
            if not self._thread.is_alive():
                raise OSError("the inserting thread has ended")
            self._jobs.put(job)
            # Once begun, a batch is not to be abandoned while the lock is given to somebody else.
            return await _uncancelled(future)

    def is_passing(self, error: Exception) -> bool:
        """Whether the same batch may be taken later: the trouble is the database's state, not a row."""
        return isinstance(error, (sqlite3.OperationalError, OSError)) or type(error) is sqlite3.DatabaseError

    async def close(self) -> None:
        """Closes the connection and ends the thread, after what is under way."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join, 5)

    def abandon(self) -> None:
        """Ends the thread without waiting, for when the event loop it worked for is gone."""
        self._jobs.put(None)

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
        if self._connection is not None:
            self._connection.close()

    def _insert(self, rows: Sequence[EventRow]) -> list[tuple[int, bool]]:
        connection = self._connection
        if connection is None:
            connection = self._connection = self._connect()
        connection.execute("BEGIN IMMEDIATE")
        try:
            stored = self._insert_all(connection, rows)
            connection.execute("COMMIT")
        except BaseException:
            self._roll_back(connection)
            raise
        return stored

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(str(self._database.location.url.database), isolation_level=None)
        try:
            configure_sqlite(connection)
            connection.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _insert_all(self, connection: sqlite3.Connection, rows: Sequence[EventRow]) -> list[tuple[int, bool]]:
        count = connection.executemany(self._statement, map(_bound, rows)).rowcount
        if count == len(rows):
            # Row ids grow by one within a transaction, and this connection alone is writing.
            last = connection.execute("SELECT last_insert_rowid()").fetchone()[0]
            return [(number, True) for number in range(last - count + 1, last + 1)]
        last = connection.execute("SELECT max(id) FROM " + f'"{self._table}"').fetchone()[0]  # noqa: S608
        marks = ", ".join("?" * len(rows))
        found = dict(
            connection.execute(
                f'SELECT identity, id FROM "{self._table}" WHERE identity IN ({marks})',  # noqa: S608
                [row.identity for row in rows],
            ).fetchall()
        )
        return [(found[row.identity], found[row.identity] > last - count) for row in rows]

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            # Whatever state it is in, the next batch gets a new connection.
            connection.close()
            self._connection = None


async def _uncancelled(future: asyncio.Future[list[tuple[int, bool]]]) -> list[tuple[int, bool]]:
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.shield(future)
        except asyncio.CancelledError as error:
            if future.cancelled():
                raise
            cancelled = error
        except BaseException:  # noqa: S110  # it is raised by `result` below
            pass
    if cancelled is not None:
        raise cancelled
    return future.result()


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


def _bound(row: EventRow) -> list[Any]:
    """The row's values, with its moments, which are in UTC, as SQLAlchemy writes and reads them in SQLite."""
    values: list[Any] = list(row)
    timestamp = values[_TIMESTAMP]
    if timestamp is not None:
        values[_TIMESTAMP] = timestamp.isoformat(" ", "microseconds")[:_TEXT_LENGTH]
    values[_RECEIVED_AT] = values[_RECEIVED_AT].isoformat(" ", "microseconds")[:_TEXT_LENGTH]
    return values
