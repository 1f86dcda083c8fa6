"""The one thread, with its one connection, through which everything is written into a SQLite file."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
import weakref
from collections.abc import Callable
from typing import Any, Final, TypeVar

from sqlalchemy import create_engine, event
from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from morag_client.inbox.checkpoints import Checkpoints

T = TypeVar("T")

_TROUBLE: Final = frozenset(
    {
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOTADB,
    }
)
_BUSY_TIMEOUT_MS: Final = 2500
_MOST_PAGES: Final = 64_000
"""256 MiB of write-ahead log, after which SQLite copies it back itself, if nobody else did (inbox/checkpoints.py)."""


class PatientConnection(sqlite3.Connection):
    """A connection that holds no lock once it is closed.

    SQLite keeps a closed connection, with its transaction, for as long as there is a statement of it; where a task is
    cancelled in the middle of one, that is as long as anybody keeps the traceback.
    """

    def close(self) -> None:
        if self.in_transaction:
            self.rollback()
        super().close()


class LentConnection(PatientConnection):
    """One that is lent to handlers, who may leave a result behind that they have not read to its end."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._cursors: weakref.WeakSet[sqlite3.Cursor] = weakref.WeakSet()

    def cursor(self, factory: type[sqlite3.Cursor] = sqlite3.Cursor) -> Any:  # type: ignore[override]  # generic there
        cursor = super().cursor(factory)
        self._cursors.add(cursor)
        return cursor

    def close(self) -> None:
        # An interrupt is in force for as long as there is one that goes on, and for the rollback too.
        for cursor in list(self._cursors):
            cursor.close()
        super().close()


class SqliteThread:
    """Runs functions that write, each in a transaction of its own, one after the other.

    In a thread and not through an asynchronous driver, which goes to its thread and back for every single statement.
    """

    def __init__(self, url: URL) -> None:
        self._engine = create_engine(
            url.set(drivername="sqlite"),
            poolclass=NullPool,
            hide_parameters=True,
            connect_args={"factory": PatientConnection},
        )
        event.listen(self._engine, "connect", configure_sqlite)
        event.listen(self._engine, "begin", begin_immediate)
        self._connection: Connection | None = None
        self._checkpoints = Checkpoints(lambda: _connect(str(url.database)))
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="morag-writer", daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, once its transaction is committed; where it raises, it is rolled back.

        Once begun it is not abandoned: whoever is cancelled meanwhile is so at its end.
        """
        if not self._thread.is_alive():
            raise OSError("the writing thread has ended")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def job() -> None:
            result, error = self._outcome(work)
            try:
                loop.call_soon_threadsafe(_settle, future, result, error)
            except RuntimeError:  # the loop is gone: so is whoever waited
                pass

        self._jobs.put(job)
        return await _uncancelled(future)

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
            del job  # nothing of it is to be kept until there is another
            if self._connection is not None:
                # Whoever waited for the job has been told.
                self._checkpoints.after_commit(self._connection.connection.driver_connection)
        self._checkpoints.wait()
        self._disconnect()

    def _outcome(self, work: Callable[[Connection], Any]) -> tuple[Any, BaseException | None]:
        try:
            connection = self._connection
            if connection is None:
                connection = self._connection = self._engine.connect()
            with connection.begin():
                return work(connection), None
        except BaseException as error:  # it is raised again where the work is awaited
            if self._connection is not None and (may_be_broken(error) or not self._is_usable(self._connection)):
                self._disconnect()
            return None, error

    def _is_usable(self, connection: Connection) -> bool:
        """Whether the failed transaction has left the connection as it was before it."""
        try:
            driver: Any = connection.connection.driver_connection
            return not (connection.in_transaction() or driver.in_transaction)
        except Exception:  # invalidated
            return False

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.close()


def may_be_broken(error: BaseException | None) -> bool:
    """Whether a connection that says this may still say it when the trouble is over.

    One that was opened while the file was read-only, for example, remains so.
    """
    said = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(said, "sqlite_errorcode", None)
    return isinstance(said, sqlite3.DatabaseError) and code is not None and code & 0xFF in _TROUBLE


def configure_sqlite(connection: Any, _record: object = None) -> None:
    """Sets up a SQLite connection: we begin transactions ourselves, and a commit is on the disk when it returns."""
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout={_BUSY_TIMEOUT_MS}",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"wal_autocheckpoint={_MOST_PAGES}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _connect(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    configure_sqlite(connection)
    return connection


def begin_immediate(connection: Connection) -> None:
    """Begins with the lock: a transaction that reads first and then wants to write fails if another wrote between."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


async def _uncancelled(future: asyncio.Future[T]) -> T:
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
