"""Inserting a batch of events into PostgreSQL, past SQLAlchemy, on one connection of its own.

This is the acknowledging insert: every delivery waits for it. One statement inserts the rows that are new, finds those
that are known and numbers the new ones in the order of their arrival, in one way to the server and back.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any, Final

import asyncpg

from morag_client.inbox.database import Database
from morag_client.inbox.rows import EventRow

_TIMESTAMP: Final = EventRow._fields.index("timestamp")
_RECEIVED_AT: Final = EventRow._fields.index("received_at")
_SMALLEST_PLAN: Final = 256
_COLLISIONS: Final = 5
_PAUSE_SECONDS: Final = 0.2

_ROWS_FAULT: Final = frozenset({"22", "23", "44", "54", "P0"})
"""Classes of errors that are about what is inserted; all others are about the database's state."""
_COLLISION: Final = frozenset({"40001", "40P01"})
"""Serialization failure and deadlock: whoever tries again gets through."""
_ELSEWHERE: Final = frozenset({"25006", "26000", "0A000", "42804", "53300", "57P01", "57P02", "57P03", "57P05"})
"""What another connection may get over, now or in a moment: a standby that took over or is about to, a pooler that has
changed the server behind us, a table that a newer release has given another column, a server that starts or stops."""


class PostgresInsertion:
    """Stores batches of events, each in one commit; within `patience` (seconds) they are stored or it raises.

    The connection is made when it is first needed, and again whenever it broke. A pooler that lends a server for a
    transaction at a time (pgbouncer) must know prepared statements, as it does from 1.21 with max_prepared_statements.
    """

    def __init__(self, database: Database, *, patience: float) -> None:
        assert database.connections is not None  # noqa: S101  # for the type checker: this is for PostgreSQL only
        self._connections = database.connections
        self._patience = patience
        self._table = database.tables.events.name
        self._session: _Session | None = None

    async def insert(self, rows: Sequence[EventRow]) -> list[tuple[int, bool]]:
        """The id of each row's record and whether it is new, once all are committed; the identities must differ.

        Raises TimeoutError or another OSError, asyncpg.PostgresError or asyncpg.InterfaceError, and ValueError or
        TypeError for what cannot be encoded. What is not answered in time may still be stored.
        """
        deadline = asyncio.get_running_loop().time() + self._patience
        collisions, trouble = 0, None
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    return await self._insert(rows)
            except TimeoutError as error:
                self._connections.doubt()
                raise trouble or TimeoutError(f"PostgreSQL did not answer within {self._patience:g} s") from error
            except Exception as error:
                collisions += getattr(error, "sqlstate", None) in _COLLISION
                if collisions > _COLLISIONS or not _is_worth_another(error):
                    raise
                trouble = error
            await asyncio.sleep(random.uniform(0.0, _PAUSE_SECONDS))  # noqa: S311  # no secret

    def is_passing(self, error: Exception) -> bool:
        """Whether the same batch may be taken later: the trouble is the database's state, not a row."""
        if isinstance(error, asyncpg.PostgresError):
            return (error.sqlstate or "")[:2] not in _ROWS_FAULT
        return not _is_unencodable(error)

    async def close(self) -> None:
        """Lets go of the connection, without waiting for it."""
        self._let_go()

    async def _insert(self, rows: Sequence[EventRow]) -> list[tuple[int, bool]]:
        try:
            session = await self._connected()
            return await session.insert(rows)
        except asyncpg.PostgresError as error:
            if (error.sqlstate or "")[:2] not in _ROWS_FAULT | {"40"}:
                self._let_go()
            raise
        except BaseException:
            self._let_go()
            raise

    async def _connected(self) -> _Session:
        session = self._session
        if session is not None and await self._connections.is_alive(session.connection, used_at=session.used_at):
            return session
        self._let_go()
        session = self._session = _Session(await self._connections.connect(), self._table)
        await session.prepare()
        return session

    def _let_go(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            self._connections.dismiss(session.connection)


class _Session:
    """A connection with the statement prepared on it."""

    def __init__(self, connection: asyncpg.Connection, table: str) -> None:
        self.connection = connection
        self.used_at = asyncio.get_running_loop().time()
        self._table = table
        self._sequence = ""
        self._places: list[int | None] = []
        self._statement: Any = None
        self._stored = 0
        self._stored_next_time = _SMALLEST_PLAN

    async def prepare(self) -> None:
        if not self._sequence:
            self._sequence, columns = await self.connection.fetchrow(_DESCRIBED, f'"{self._table}"')
            fields = EventRow._fields
            self._places = [fields.index(column) if column in fields else None for column in columns]
        self._statement = await self.connection.prepare(_statement(self._table, self._sequence))

    async def insert(self, rows: Sequence[EventRow]) -> list[tuple[int, bool]]:
        identities = [row.identity for row in rows]
        if self._stored >= self._stored_next_time:
            # A plan is kept as it is. One that was made when the table was small reads all of it.
            self._stored_next_time = 2 * self._stored
            await self.prepare()
        found = {row[0]: (row[1], row[2]) for row in await self._statement.fetch(self._values(rows))}
        if len(found) < len(identities):
            found |= await self._known([identity for identity in identities if identity not in found])
        self._stored += len(identities)
        self.used_at = asyncio.get_running_loop().time()
        return [found[identity] for identity in identities]

    def _values(self, rows: Sequence[EventRow]) -> list[tuple[Any, ...]]:
        """The rows with all the table's columns in its order; moments, which are in UTC, without a time zone."""
        columns: list[Any] = list(zip(*rows, strict=True))
        columns[_TIMESTAMP] = [moment and moment.replace(tzinfo=None) for moment in columns[_TIMESTAMP]]
        columns[_RECEIVED_AT] = [moment.replace(tzinfo=None) for moment in columns[_RECEIVED_AT]]
        nothing = (None,) * len(rows)
        return list(zip(*(nothing if place is None else columns[place] for place in self._places), strict=True))

    async def _known(self, identities: Sequence[bytes]) -> dict[bytes, tuple[int, bool]]:
        """Those that another process committed while our statement was at work, and which it could not see."""
        asked = f'SELECT identity, id FROM "{self._table}" WHERE identity = ANY($1::bytea[])'  # noqa: S608
        rows = await self.connection.fetch(asked, identities)
        if len(rows) < len(identities):
            raise asyncpg.SerializationError("a record of the same identity was there and is gone")
        return {row[0]: (row[1], False) for row in rows}


_DESCRIBED: Final = """
    SELECT pg_get_serial_sequence($1, 'id'), array_agg(attname::text ORDER BY attnum)
    FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped
"""
"""The sequence and the columns of a table."""


def _statement(table: str, sequence: str) -> str:
    """Of the rows in an array of the table's own type: (identity, id, is_new), but for those of a race.

    - An array for each column would cost the driver twice the time.
    - Ids are taken in the order of arrival, and only for what is not known.
    - Rows are inserted, and so locked, in the order of their identities, or two processes with the same rows would
      wait for each other.
    - A commit is on the disk when this returns, whatever the session's settings have become: a pooler may have lent us
      another one.
    """
    columns = ", ".join(f'"{name}"' for name in EventRow._fields)
    return f"""
        WITH durable AS MATERIALIZED (
            SELECT CASE current_setting('synchronous_commit')
                WHEN 'off' THEN set_config('synchronous_commit', 'on', true) END
        ), given AS MATERIALIZED (
            SELECT {columns}, ordinality AS place,
                (SELECT id FROM "{table}" AS event WHERE event.identity = row.identity) AS known
            FROM durable, unnest($1::"{table}"[]) WITH ORDINALITY AS row
        ), numbered AS MATERIALIZED (
            SELECT nextval('{sequence}'::regclass) AS id, {columns} FROM given WHERE known IS NULL ORDER BY place
        ), inserted AS (
            INSERT INTO "{table}" (id, {columns})
            SELECT id, {columns} FROM numbered ORDER BY identity
            ON CONFLICT (identity) DO NOTHING
            RETURNING identity, id
        )
        SELECT identity, id, true FROM inserted
        UNION ALL SELECT identity, known, false FROM given WHERE known IS NOT NULL
    """  # noqa: S608


def _is_worth_another(error: Exception) -> bool:
    if isinstance(error, asyncpg.PostgresError):
        code = error.sqlstate or ""
        return code in _COLLISION or code in _ELSEWHERE or code.startswith("08")
    return not _is_unencodable(error)


def _is_unencodable(error: Exception) -> bool:
    """Whether the driver found a value that it cannot send."""
    return isinstance(error, (ValueError, TypeError, OverflowError)) and not isinstance(
        error, asyncpg.exceptions.ClientConfigurationError
    )
