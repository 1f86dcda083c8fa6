"""Transactions for handlers: what a handler writes and its outcome commit together, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, IllegalStateChangeError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.util import await_only, greenlet_spawn

from morag_client.errors import InboxError
from morag_client.inbox.database import TRANSACTION, Database
from morag_client.inbox.lanes import RunRow
from morag_client.inbox.settling import Settling

_SQLITE_SECONDS: Final = 1.0
_FINISH_SECONDS: Final = 15.0
_CLOSE_SECONDS: Final = 5.0
_MOMENT: Final = 0.25
_INSTANT: Final = 0.01
_AT_ONCE: Final = 8
_NO_COMMIT: Final = (
    "a handler does not commit its session: it is committed with the handler's outcome when it returns, and rolled back"
    " when it raises; for a part of its own use session.begin_nested()"
)
_OVER: Final = "the handler has returned, and its session's transaction has ended with it: await what it starts"


class LaneLost(InboxError):
    """Another worker has taken over the task: what was done for it here is undone."""


class Sessions:
    """Makes the sessions of one worker, a bounded number at once."""

    def __init__(self, database: Database, settling: Settling) -> None:
        self._database = database
        self._settling = settling
        self._slots = asyncio.Semaphore(_AT_ONCE)
        _watch_transactions(database)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A transaction that begins with the session's first statement; rolled back where it is not `finish`ed."""
        async with self._slots:
            transaction = Transaction(self._database, self._settling)
            try:
                async with transaction.limit:
                    yield transaction
            except TimeoutError as error:
                if transaction.limit.expired():
                    raise TimeoutError(transaction.lateness) from error
                raise
            finally:
                await transaction.end()


class Transaction:
    """One handler's transaction; `session` is what the handler gets."""

    def __init__(self, database: Database, settling: Settling) -> None:
        self._database = database
        self._settling = settling
        self._is_finishing = False
        self._is_spoilt = False
        self._is_committed = False
        self._is_over = False
        self._has_lock = False
        self._connection: Connection | None = None
        self._interrupt: asyncio.TimerHandle | None = None
        self.limit = asyncio.timeout(None)
        engine = database.engine.execution_options(**{TRANSACTION: self})
        # Closed for good by `end`: a task that the handler leaves behind must not begin another transaction.
        self.session = AsyncSession(engine, expire_on_commit=False, close_resets_only=False)

    @property
    def lateness(self) -> str:
        """What to say where the limit was exceeded."""
        if self._is_finishing:
            return f"the database did not commit within {_FINISH_SECONDS:g} s"
        return (
            f"the handler kept its transaction open for more than {_SQLITE_SECONDS:g} s; on SQLite every delivery waits"
            " behind it: do the slow work before the session's first statement"
        )

    async def finish(self, *, record_id: int, lane: bytes, epoch: int, run: RunRow) -> None:
        """Commits, with the outcome.

        Raises LaneLost, and whatever the database raises; all is rolled back then, unless only the answer was lost.
        """
        if self._is_spoilt:
            raise RuntimeError(_NO_COMMIT)
        if self.limit.expired():  # and the handler did not let itself be cancelled
            raise TimeoutError(self.lateness)
        self.limit.reschedule(asyncio.get_running_loop().time() + _FINISH_SECONDS)
        self._is_finishing = True
        self._spare()

        def work(session: Session) -> None:
            session.flush()
            connection = session.connection()
            if not self._settling.is_mine(connection, lane, epoch):
                raise LaneLost("another worker has taken over the task")
            self._settling.write_run(connection, record_id, run)
            session.commit()

        await self.session.run_sync(work)
        self._is_committed = True

    async def end(self) -> None:
        """Rolls back what was not committed, and lets others write."""
        self._is_finishing = self._is_over = True
        closing = asyncio.create_task(self._close(), name="morag-session")
        try:
            await asyncio.wait([closing], timeout=_MOMENT)
            if not closing.done():
                await self._cut_off()
                await asyncio.wait([closing], timeout=_CLOSE_SECONDS)
        finally:
            closing.cancel()  # a connection that hangs is given up
            self._spare()
            self._unlock()

    async def _close(self) -> None:
        while True:
            try:
                if self._database.is_sqlite and not self._is_committed:
                    # What a task of the handler's still does must not be done without a transaction.
                    await self.session.invalidate()
                else:
                    await self.session.close()
            except IllegalStateChangeError:  # a task that the handler has left behind is just using it
                await self._cut_off()
                await asyncio.sleep(_INSTANT)
            except (DBAPIError, OSError):
                if self._connection is not None:  # the session knows it no more
                    await greenlet_spawn(self._connection.invalidate)
                    await greenlet_spawn(self._connection.close)
                return
            else:
                return

    async def _cut_off(self) -> None:
        """Ends the statement that is being executed."""
        if self._connection is None or self._connection.closed or self._connection.invalidated:
            return
        driver: Any = self._connection.connection.driver_connection
        if self._database.is_sqlite:
            await driver.interrupt()
        else:
            driver.terminate()

    def begun(self, connection: Connection) -> None:
        """The session's first statement is about to be run on this connection."""
        if self._is_over:
            raise RuntimeError(_OVER)
        self._connection = connection
        if not self._database.is_sqlite:
            return
        if not self._has_lock:
            await_only(self._lock())
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def committing(self, connection: Connection) -> None:
        """Somebody commits. Raises RuntimeError where that is not us."""
        if not self._is_finishing:
            self._is_spoilt = True
            # After an error here SQLAlchemy believes the transaction to be over.
            connection.connection.rollback()
            raise RuntimeError(_NO_COMMIT)

    async def _lock(self) -> None:
        await self._database.write_lock.acquire()
        if self._is_over:
            self._database.write_lock.release()
            raise RuntimeError(_OVER)
        self._has_lock = True
        loop = asyncio.get_running_loop()
        self.limit.reschedule(loop.time() + _SQLITE_SECONDS)
        # Whoever is cancelled while a statement is executed gets that only once the statement is through.
        self._interrupt = loop.call_later(_SQLITE_SECONDS, lambda: loop.create_task(self._cut_off()))

    def _spare(self) -> None:
        if self._interrupt is not None:
            self._interrupt.cancel()
            self._interrupt = None

    def _unlock(self) -> None:
        if self._has_lock:
            self._has_lock = False
            self._database.write_lock.release()


def _watch_transactions(database: Database) -> None:
    """Lets handlers' transactions know of what happens on their connections; once for each database."""

    def begins(connection: Connection) -> None:
        if (transaction := _of(connection)) is not None:
            transaction.begun(connection)

    def commits(connection: Connection) -> None:
        if (transaction := _of(connection)) is not None:
            transaction.committing(connection)

    event.listen(database.engine.sync_engine, "commit", commits)
    if not database.is_sqlite:  # which is told in any case
        event.listen(database.engine.sync_engine, "begin", begins)


def _of(connection: Connection) -> Transaction | None:
    return connection.get_execution_options().get(TRANSACTION)
