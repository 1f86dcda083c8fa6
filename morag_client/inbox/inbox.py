"""The inbox as the rest of the package sees it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Connection

from morag_client.errors import DeliveryRejected, InboxUnavailable
from morag_client.inbox import schema
from morag_client.inbox.database import Database
from morag_client.inbox.insertion import SqliteInsertion
from morag_client.inbox.location import Location
from morag_client.inbox.quarantining import QuarantineLimits, Quarantining
from morag_client.inbox.rows import Arrival, EventRow, quarantine_row
from morag_client.inbox.writer import GroupCommit, Insertion, RowRefused, Stored

OnStored = Callable[[int, Any], None]


class Inbox:
    """Stores what arrives, once; `open` it in the event loop that is going to use it.

    `on_stored(record_id, note)` is told of every new record after its commit, with the note that `record` was given.
    """

    def __init__(
        self,
        location: Location,
        *,
        prefix: str = "",
        commit_timeout: float,
        on_stored: OnStored,
        quarantine_limits: QuarantineLimits | None = None,
    ) -> None:
        self.database = Database(location, prefix=prefix)
        self.quarantining = Quarantining(self.database, quarantine_limits or QuarantineLimits())
        self.patience = commit_timeout
        self._on_stored = on_stored
        self._writer: GroupCommit | None = None

    async def open(self) -> None:
        """Brings the tables up to date. Raises ConfigurationError or InboxUnavailable, leaving nothing open."""
        try:
            await schema.upgrade(self.database)
        except BaseException:
            await self.database.close()
            raise
        self._writer = GroupCommit(self._insertion(), on_stored=self._on_stored, timeout=self.patience)

    async def close(self) -> None:
        """Stores what still waits and lets go of the database."""
        if self._writer is not None:
            await self._writer.close()
            self._writer = None
        await self.database.close()

    async def abandon(self) -> None:
        """Lets go of the database where the event loop that used it is gone."""
        await self.database.abandon()

    async def record(self, arrival: Arrival, row: EventRow, note: Any = None) -> Stored:
        """The record of an event, new or known; it is committed when this returns.

        Raises InboxUnavailable where the database did not take it in time, and DeliveryRejected where it refuses this
        row for good; what was refused is then in quarantine, as far as there is room.
        """
        try:
            return await self.store(row, note)
        except DeliveryRejected as refused:
            await self.quarantine(arrival, refused)
            raise

    async def store(self, row: EventRow, note: Any = None) -> Stored:
        """The record of an event, as `record` says; what the database refuses is not put into quarantine."""
        if self._writer is None:
            raise InboxUnavailable("the inbox is not open")
        try:
            return await self._writer.record(row, note)
        except RowRefused as refused:
            raise DeliveryRejected(f"the database refused it: {refused}") from refused

    async def quarantine(self, arrival: Arrival, rejected: DeliveryRejected) -> bool:
        """Keeps an authentic delivery that could not be understood, once however often it is repeated.

        Returns whether there was room for it. Raises InboxUnavailable.
        """
        row = quarantine_row(arrival, status=rejected.status, code=rejected.code, problems=rejected.problems)
        return await self.quarantining.keep(row, patience=self.patience)

    async def ping(self) -> None:
        """Asks the database for a sign of life, and to write where it lately did not. Raises InboxUnavailable."""
        if self._writer is not None and self._writer.has_failed:
            await self.database.write(partial(_touch, table=self.database.tables.version), patience=self.patience)
        else:
            await self.database.read(_ping, patience=self.patience)

    def _insertion(self) -> Insertion:
        if self.database.is_sqlite:
            return SqliteInsertion(self.database)
        from morag_client.inbox.postgres_insertion import PostgresInsertion  # noqa: PLC0415  # its driver is an extra

        return PostgresInsertion(self.database, patience=self.patience)


def _ping(connection: Connection) -> None:
    connection.execute(text("SELECT 1"))


def _touch(connection: Connection, *, table: str) -> None:
    """Writes something that is there already; a disk that is full can still be read."""
    connection.execute(text(f'UPDATE "{table}" SET version_num = version_num'))  # noqa: S608
