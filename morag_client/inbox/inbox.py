"""The inbox as the rest of the package sees it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from sqlalchemy.exc import DBAPIError

from morag_client.errors import DeliveryRejected, InboxUnavailable
from morag_client.inbox import schema
from morag_client.inbox.database import Database, Location, unavailable
from morag_client.inbox.insertion import SqliteInsertion
from morag_client.inbox.rows import Arrival, EventRow, quarantine_row
from morag_client.inbox.writer import GroupCommit, RowRefused, Stored

OnStored = Callable[[int, Any], None]


class Inbox:
    """Stores what arrives, once; `open` it in the event loop that is going to use it.

    `on_stored(record_id, note)` is told of every new record after its commit, with the note that `record` was given.
    """

    def __init__(self, location: Location, *, prefix: str = "", commit_timeout: float, on_stored: OnStored) -> None:
        self.database = Database(location, prefix=prefix)
        self._timeout = commit_timeout
        self._on_stored = on_stored
        self._writer: GroupCommit | None = None
        self._insertion: SqliteInsertion | None = None
        self._late: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Brings the tables up to date. Raises ConfigurationError or InboxUnavailable, leaving nothing open."""
        try:
            await schema.upgrade(self.database)
        except BaseException:
            await self.database.close()
            raise
        self._insertion = SqliteInsertion(self.database)
        self._writer = GroupCommit(self._insertion, on_stored=self._on_stored, timeout=self._timeout)

    async def close(self) -> None:
        """Stores what still waits and lets go of the database."""
        if self._writer is not None:
            await self._writer.close()
            self._writer = None
        await self.database.close()

    async def abandon(self) -> None:
        """Lets go of the database where the event loop that used it is gone."""
        if self._insertion is not None:
            self._insertion.abandon()
        await self.database.close()

    async def record(self, arrival: Arrival, row: EventRow, note: Any = None) -> Stored:
        """The record of an event, new or known; it is committed when this returns.

        Raises InboxUnavailable where the database did not take it in time, and DeliveryRejected where it refuses this
        row for good; what was refused is then in quarantine.
        """
        if self._writer is None:
            raise InboxUnavailable("the inbox is not open")
        try:
            return await self._writer.record(row, note)
        except RowRefused as refused:
            error = DeliveryRejected(f"the database refused it: {refused}")
            await self.quarantine(arrival, error)
            raise error from refused

    async def quarantine(self, arrival: Arrival, rejected: DeliveryRejected) -> None:
        """Keeps an authentic delivery that could not be understood, once however often it is repeated."""
        row = quarantine_row(arrival, status=rejected.status, code=rejected.code, problems=rejected.problems)
        table = self.database.tables.quarantine
        statement = self.database.insert(table).values(row._asdict())
        statement = statement.on_conflict_do_update(
            index_elements=[table.c.identity], set_={"repeats": table.c.repeats + 1}
        )
        await self._in_time(self._execute(statement))

    @contextlib.asynccontextmanager
    async def timed(self) -> AsyncIterator[None]:
        """Turns a database that errs or does not answer in time into InboxUnavailable."""
        try:
            async with asyncio.timeout(self._timeout):
                yield
        except TimeoutError:
            raise InboxUnavailable(f"the database did not answer within {self._timeout:g} s") from None
        except (DBAPIError, OSError) as error:
            raise unavailable(error) from error

    async def _execute(self, statement: Any) -> None:
        async with self.timed(), self.database.writing() as connection:
            await connection.execute(statement)

    async def _in_time(self, work: Coroutine[Any, Any, None]) -> None:
        # Whoever is cancelled in the middle of a statement waits for its end, and a sender does not wait that long.
        task = asyncio.create_task(work, name="morag-quarantine")
        self._late.add(task)
        task.add_done_callback(self._forget)
        await asyncio.wait([task], timeout=self._timeout)
        if not task.done():
            raise InboxUnavailable(f"the database did not answer within {self._timeout:g} s")
        task.result()

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._late.discard(task)
        if not task.cancelled():
            task.exception()  # told already, or there is nobody left to tell

    async def ping(self) -> None:
        """Asks the database for a sign of life. Raises InboxUnavailable."""
        async with self.timed(), self.database.reading() as connection:
            await connection.exec_driver_sql("SELECT 1")
