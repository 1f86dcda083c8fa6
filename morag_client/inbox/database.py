"""The connection to the database: reading, writing in transactions, and letting go of it in an orderly way."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy import Table, event
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Connection, ExceptionContext
from sqlalchemy.exc import DBAPIError, TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from morag_client.errors import InboxUnavailable
from morag_client.inbox.location import Location
from morag_client.inbox.sqlite_thread import LentConnection, SqliteThread, configure_sqlite, may_be_broken
from morag_client.inbox.tables import Tables, make_tables

if TYPE_CHECKING:
    from morag_client.inbox.postgres_connections import PostgresConnections

T = TypeVar("T")

DriverError = DBAPIError
"""What a statement raises that the database refused or did not answer, for those who know no SQLAlchemy."""

LONGEST: Final = 15.0
"""Seconds after which a statement is given up that nobody set a limit for."""
TRANSACTION: Final = "morag_transaction"
"""The execution option that names the handler's transaction a connection is used for."""

_WAL_ATTEMPTS: Final = 50
_POOL_SIZE: Final = 10
_CLOSE_SECONDS: Final = 1.0


class Database:
    """One database with our tables in it, for one event loop at a time."""

    def __init__(self, location: Location, *, prefix: str = "") -> None:
        self.location = location
        self.prefix = prefix
        self.tables: Tables = make_tables(prefix)
        self.connections = None if location.is_sqlite else _connections(location)
        """PostgreSQL's, of which the acknowledging insert has one of its own."""
        self.engine: AsyncEngine = create_async_engine(location.url, hide_parameters=True, **self._options())
        self._reading = self.engine
        self._lent = _Lent(self.engine)
        # SQLite has one writer; who waits here waits fairly, and not in the busy handler's naps.
        self.write_lock = asyncio.Lock()
        self._thread: SqliteThread | None = None
        self._late: set[asyncio.Task[Any]] = set()
        if self.is_sqlite:
            _keep_bodies_out_of_logs()
            event.listen(self.engine.sync_engine, "connect", configure_sqlite)
            event.listen(self.engine.sync_engine, "begin", _begin_sqlite)
            event.listen(self.engine.sync_engine, "handle_error", _note_broken)
        if self.connections is not None:
            self.connections.watch(self.engine)
            # Between statements PostgreSQL would show what others commit in a transaction too (READ COMMITTED), so that
            # reading in one has no use but two more ways to the server and back.
            self._reading = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    @property
    def is_sqlite(self) -> bool:
        return self.location.is_sqlite

    def insert(self, table: Table) -> Any:
        """The database's own INSERT, which knows ON CONFLICT."""
        if self.is_sqlite:
            return sqlite.insert(table)
        from sqlalchemy.dialects import postgresql  # noqa: PLC0415  # 20 ms that SQLite has no use for

        return postgresql.insert(table)

    async def prepare(self) -> None:
        """Makes a SQLite file keep a write-ahead log, which is a property of the file."""
        if not self.is_sqlite:
            return
        for attempt in range(_WAL_ATTEMPTS):
            try:
                async with self.engine.connect() as connection:
                    raw = await connection.get_raw_connection()
                    cursor = await raw.driver_connection.execute("PRAGMA journal_mode=WAL")  # type: ignore[union-attr]
                    await cursor.close()
            except (DBAPIError, OSError) as error:
                raise unavailable(error) from error
            except Exception as error:  # the driver's own, not wrapped here
                # Changing the mode needs the file alone, and SQLite does not wait for that.
                if "locked" not in str(error) or attempt == _WAL_ATTEMPTS - 1:
                    raise unavailable(error) from error
                await asyncio.sleep(0.02)
            else:
                return

    async def read(self, work: Callable[[Connection], T], *, patience: float = LONGEST) -> T:
        """What `work` returns, called with a connection that is only to read from.

        Raises InboxUnavailable where the database errs or does not answer within `patience` (seconds).
        """
        return await self._bounded(self._read(work), patience)

    async def write(self, work: Callable[[Connection], T], *, patience: float = LONGEST) -> T:
        """What `work` returns, called with a connection in a transaction that is committed when this returns.

        Where it raises, all is rolled back. Raises InboxUnavailable where the database errs or does not answer within
        `patience` (seconds); it may still commit then.
        """
        return await self._bounded(self._write(work), patience)

    async def close(self) -> None:
        """Lets go of the database; who is just using it has a moment to finish."""
        await self._end_late(seconds=_CLOSE_SECONDS)
        await self._lent.settle(seconds=_CLOSE_SECONDS)
        if self._thread is not None:
            await self._thread.close()
            self._thread = None
        await self.engine.dispose()
        if self.connections is not None:
            await self.connections.close()

    async def abandon(self) -> None:
        """Lets go of the database where the event loop that used it is gone."""
        if self._thread is not None:
            self._thread.abandon()
            self._thread = None
        self._late.clear()
        if self.connections is not None:
            self.connections.abandon()
        await self.close()

    @property
    def thread(self) -> SqliteThread:
        """The thread that writes into a SQLite file; whoever uses it has the `write_lock`."""
        if self._thread is None:
            self._thread = SqliteThread(self.location.url)
        return self._thread

    async def _read(self, work: Callable[[Connection], T]) -> T:
        async with self._reading.connect() as connection:
            return await connection.run_sync(work)

    async def _write(self, work: Callable[[Connection], T]) -> T:
        if self.is_sqlite:
            async with self.write_lock:
                return await self.thread.run(work)
        async with self.engine.begin() as connection:
            return await connection.run_sync(work)

    async def _bounded(self, coroutine: Coroutine[Any, Any, T], patience: float) -> T:
        # In a task of its own: a connection that hangs is cleaned up by it, and whoever asked does not wait for that.
        task = asyncio.create_task(coroutine, name="morag-database")
        self._late.add(task)
        task.add_done_callback(self._forget)
        try:
            await asyncio.wait([task], timeout=patience)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not task.done():
            task.cancel()
            if self.connections is not None:
                self.connections.doubt()
            raise InboxUnavailable(f"the database did not answer within {patience:g} s")
        if task.cancelled():
            raise InboxUnavailable("the inbox was closed")
        try:
            return task.result()
        except (DBAPIError, PoolTimeout, OSError) as error:
            raise unavailable(error) from error

    async def _end_late(self, *, seconds: float) -> None:
        """Waits for those who are just reading or writing, at most so long, and stops the others."""
        for _ in range(2):
            if not self._late:
                return
            await asyncio.wait(self._late, timeout=seconds)
            for task in self._late:
                task.cancel()

    def _options(self) -> dict[str, Any]:
        if self.connections is None:
            return {"connect_args": {"factory": LentConnection}}
        # No pre_ping: it asks for a sign of life each time, with three ways to the server, and waits for it for ever.
        connect = {"async_creator_fn": self.connections.connect_for_pool}
        return {"pool_size": _POOL_SIZE, "pool_use_lifo": True, "connect_args": connect}

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._late.discard(task)
        if not task.cancelled():
            task.exception()  # told already, or there is nobody left to tell


class _Lent:
    """The connections that somebody has.

    An event loop that ends cancels everybody, and also who is just about to give a connection back. Those are never
    given back, and the pool complains of them much later, when they are collected as garbage.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._entries: set[ConnectionPoolEntry] = set()
        event.listen(engine.sync_engine, "checkout", lambda _, entry, __: self._entries.add(entry))
        event.listen(engine.sync_engine, "checkin", lambda _, entry: self._entries.discard(entry))

    async def settle(self, *, seconds: float) -> None:
        """Waits until all are given back, at most so long, and closes the others."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while self._entries and loop.time() < deadline:
            await asyncio.sleep(0.01)
        while self._entries:
            entry = self._entries.pop()
            if entry.driver_connection is not None:
                # Awaited, or the driver's thread would look for an event loop that is gone.
                with contextlib.suppress(Exception):
                    await asyncio.wait_for(entry.driver_connection.close(), seconds)
            entry.invalidate()


def unavailable(error: BaseException) -> InboxUnavailable:
    """The error to raise where the database did not do its part; says what the database said, without parameters."""
    said = error.orig if isinstance(error, DBAPIError) else error
    return InboxUnavailable(f"the database did not answer as it should: {said}")


def _connections(location: Location) -> PostgresConnections:
    from morag_client.inbox.postgres_connections import PostgresConnections  # noqa: PLC0415  # its driver is an extra

    return PostgresConnections(location.url)


def _keep_bodies_out_of_logs() -> None:
    # The driver tells at level DEBUG of every statement, with its parameters.
    driver = logging.getLogger("aiosqlite")
    if driver.level == logging.NOTSET:
        driver.setLevel(logging.INFO)


def _note_broken(context: ExceptionContext) -> None:
    if may_be_broken(context.original_exception):
        context.is_disconnect = True  # the pool opens new ones then


def _begin_sqlite(connection: Connection) -> None:
    transaction = connection.get_execution_options().get(TRANSACTION)
    if transaction is None:
        connection.exec_driver_sql("BEGIN")
    else:
        transaction.begun(connection)
