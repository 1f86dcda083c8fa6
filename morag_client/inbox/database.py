"""The connection to the database: which one, set up how, and one writer at a time where it is SQLite."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import sqlite3
import tempfile
import warnings
import weakref
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Table, event
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from morag_client.errors import ConfigurationError, InboxUnavailable, MoragWarning
from morag_client.inbox.tables import Tables, make_tables

DriverError = DBAPIError
"""What a statement raises that the database refused or did not answer, for those who know no SQLAlchemy."""

_BUSY_TIMEOUT_MS: Final = 2500
_WRITES: Final = "morag_writes"
_WAL_ATTEMPTS: Final = 50


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Location:
    """Where a database is. A temporary one is removed once nobody knows this, at the latest at the process's end."""

    url: URL


class Database:
    """One database with our tables in it, for one event loop at a time."""

    def __init__(self, location: Location, *, prefix: str = "") -> None:
        self.location = location
        self.prefix = prefix
        self.tables: Tables = make_tables(prefix)
        arguments = {"factory": _Connection} if self.is_sqlite else {}
        self.engine: AsyncEngine = create_async_engine(location.url, connect_args=arguments, hide_parameters=True)
        self._lent = _Lent(self.engine)
        # SQLite has one writer; who waits here waits fairly, and not in the busy handler's naps.
        self.write_lock = asyncio.Lock()
        if self.is_sqlite:
            _keep_bodies_out_of_logs()
            event.listen(self.engine.sync_engine, "connect", configure_sqlite)
            event.listen(self.engine.sync_engine, "begin", _begin_sqlite)

    @property
    def is_sqlite(self) -> bool:
        return self.location.url.get_backend_name() == "sqlite"

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

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction that writes; commits at the end, rolls back on an exception."""
        async with contextlib.AsyncExitStack() as stack:
            if self.is_sqlite:
                await stack.enter_async_context(self.write_lock)
            engine = self.engine.execution_options(**{_WRITES: True})
            yield await stack.enter_async_context(engine.begin())

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction that only reads."""
        async with self.engine.connect() as connection:
            yield connection

    async def close(self) -> None:
        """Lets go of the database; who is just using it has a moment to finish."""
        await self._lent.settle(seconds=1.0)
        await self.engine.dispose()


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


class _Connection(sqlite3.Connection):
    """A connection that holds no lock once it is closed.

    SQLite keeps a closed connection, with its transaction, for as long as there is a statement of it; where a task is
    cancelled in the middle of one, that is as long as anybody keeps the traceback.
    """

    def close(self) -> None:
        if self.in_transaction:
            self.rollback()
        super().close()


def locate(given: str | None) -> Location:
    """The database that is meant, with the driver that we use; without one a private temporary SQLite file.

    Raises ConfigurationError for what cannot be used.
    """
    if given is None:
        return _temporary()
    try:
        url = make_url(given)
    except ArgumentError:
        raise ConfigurationError(
            "the database URL cannot be read; expected sqlite:///relative.db or sqlite:////absolute.db"
        ) from None
    if url.get_backend_name() != "sqlite":
        raise ConfigurationError(f"no inbox can be kept in {url.get_backend_name()}; expected sqlite:///file.db")
    if not url.database or url.database == ":memory:" or "memory" in str(url.query.get("mode", "")):
        raise ConfigurationError(
            "a SQLite database in memory loses what it was given, and one connection would share its transactions"
            " with another; give a file: sqlite:///morag.db"
        )
    path = Path(url.database).expanduser().absolute()
    if not path.parent.is_dir():
        raise ConfigurationError(f"the folder of the database does not exist: {path.parent}; create it first")
    return Location(url.set(drivername="sqlite+aiosqlite", database=str(path)))


def configure_sqlite(connection: Any, _record: object = None) -> None:
    """Sets up a SQLite connection: we begin transactions ourselves, and a commit is on the disk when it returns."""
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (f"busy_timeout={_BUSY_TIMEOUT_MS}", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def unavailable(error: BaseException) -> InboxUnavailable:
    """The error to raise where the database did not do its part; says what the database said, without parameters."""
    said = error.orig if isinstance(error, DBAPIError) else error
    return InboxUnavailable(f"the database did not answer as it should: {said}")


def _keep_bodies_out_of_logs() -> None:
    # The driver tells at level DEBUG of every statement, with its parameters.
    driver = logging.getLogger("aiosqlite")
    if driver.level == logging.NOTSET:
        driver.setLevel(logging.INFO)


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and then wants to write fails at once if another wrote in between.
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _temporary() -> Location:
    folder = tempfile.mkdtemp(prefix="morag-")
    warnings.warn(
        "no database is configured: what is received is kept in a temporary file and gone when this process ends;"
        " set database_url or MORAG_DATABASE_URL, for example sqlite:///morag.db",
        MoragWarning,
        stacklevel=4,
    )
    location = Location(URL.create("sqlite+aiosqlite", database=str(Path(folder) / "inbox.db")))
    # Not a TemporaryDirectory: that one warns where it is left to be removed in the end, which is just what is meant.
    weakref.finalize(location, _remove, folder, os.getpid())
    return location


def _remove(folder: str, owner: int) -> None:
    if os.getpid() == owner:  # a forked child has the finalizer too
        shutil.rmtree(folder, ignore_errors=True)
