"""Connections to PostgreSQL of which none is waited for when it hangs, and none outlives its event loop."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final
from urllib.parse import urlencode

import asyncpg
from sqlalchemy import event
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.util import await_only

from morag_client.errors import ConfigurationError

CONNECT_SECONDS: Final = 3.0
IDLE_SECONDS: Final = 10.0
"""After so long without use a connection is asked for a sign of life: what is in between may have forgotten it."""

_PING_SECONDS: Final = 0.5
_FAREWELL_SECONDS: Final = 2.0
_NUMBERS: Final = ("statement_cache_size", "max_cached_statement_lifetime", "max_cacheable_statement_size")
_ARGUMENTS: Final = frozenset({"host", "port", "user", "password", "database", "passfile", "ssl", *_NUMBERS})
_NOT_ASKED: Final = ("prepared_statement_cache_size", "timeout", "connect_timeout", "command_timeout")
"""One is SQLAlchemy's own; and how long we wait follows from who waits for us."""


class PostgresConnections:
    """Makes the connections to one database and knows all that are open, for one event loop at a time."""

    def __init__(self, url: URL) -> None:
        self._arguments = connection_arguments(url)
        self._open: set[asyncpg.Connection] = set()
        self._farewells: set[asyncio.Task[None]] = set()
        self._guard: asyncio.Task[None] | None = None
        self._doubted_at = 0.0

    async def connect(self) -> asyncpg.Connection:
        """A new connection, on which a commit is on the disk when it returns.

        Raises OSError, asyncpg.PostgresError or asyncpg.InterfaceError, after CONNECT_SECONDS at the latest.
        """
        if self._guard is None or self._guard.done():
            self._guard = asyncio.create_task(self._outlive_nothing(), name="morag-postgres")
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return await self._connect()
        except TimeoutError as error:
            raise ConnectionError(f"PostgreSQL let nobody in within {CONNECT_SECONDS:g} s") from error

    async def connect_for_pool(self, **_arguments: Any) -> asyncpg.Connection:
        """The same for SQLAlchemy. Raises OSError only: of the driver's own errors it does not translate all."""
        try:
            return await self.connect()
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise ConnectionError(str(error)) from error

    def watch(self, engine: AsyncEngine) -> None:
        """Lets the engine's pool lend only connections that are likely to be alive."""
        event.listen(engine.sync_engine, "checkout", self._lend)
        event.listen(engine.sync_engine, "checkin", _note_use)

    def doubt(self) -> None:
        """Something was not answered: every connection that was used before is asked for a sign of life first."""
        self._doubted_at = asyncio.get_running_loop().time()

    async def is_alive(self, connection: asyncpg.Connection, *, used_at: float) -> bool:
        """Whether the connection can be used; it is asked only where it was not used for long (the loop's time)."""
        if connection.is_closed():
            return False
        now = asyncio.get_running_loop().time()
        if self._doubted_at < used_at <= now < used_at + IDLE_SECONDS:
            return True
        try:
            async with asyncio.timeout(_PING_SECONDS):
                await connection.execute("SELECT 1")
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        return True

    async def close(self) -> None:
        """Closes what is open, within _FAREWELL_SECONDS."""
        for connection in list(self._open):
            self.dismiss(connection)
        if self._farewells:
            await asyncio.wait(self._farewells, timeout=_FAREWELL_SECONDS + 1.0)
        if self._guard is not None:
            self._guard.cancel()
            await asyncio.wait([self._guard])

    def abandon(self) -> None:
        """Drops all connections where their event loop is gone."""
        for connection in self._open:
            connection.remove_termination_listener(self._open.discard)  # nobody is left to call it
        self.terminate()
        self._farewells.clear()
        self._guard = None

    def terminate(self) -> None:
        """Drops all connections on the spot."""
        for connection in list(self._open):
            # With its loop gone, the driver has nobody to tell of the end.
            with contextlib.suppress(Exception):
                connection.terminate()
        self._open.clear()

    def dismiss(self, connection: asyncpg.Connection) -> None:
        """Closes a connection in the background: what runs on it is to be stopped, but not waited for."""
        if connection not in self._open:
            return
        self._open.discard(connection)
        farewell = asyncio.create_task(connection.part(), name="morag-postgres-farewell")
        self._farewells.add(farewell)
        farewell.add_done_callback(self._farewells.discard)

    async def _connect(self) -> asyncpg.Connection:
        connection = await asyncpg.connect(**self._arguments, connection_class=_Connection)
        connection.connections = self
        self._open.add(connection)
        connection.add_termination_listener(self._open.discard)
        try:
            if await connection.fetchval("SHOW synchronous_commit") == "off":
                await connection.execute("SET synchronous_commit TO on")
        except BaseException:
            connection.terminate()
            raise
        return connection

    def _lend(self, adapted: Any, entry: ConnectionPoolEntry, _proxy: object) -> None:
        used_at = entry.info.get("used_at")
        if used_at is not None and not await_only(self.is_alive(adapted.driver_connection, used_at=used_at)):
            raise InvalidatePoolError("the connection to PostgreSQL is gone")  # the pool makes a new one

    async def _outlive_nothing(self) -> None:
        # Whoever ends an event loop cancels its tasks first; after that nobody can close a connection in order.
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.terminate()


class _Connection(asyncpg.Connection):  # type: ignore[misc]  # it has no types
    """A connection whose end nobody waits for: with the driver's own, that is where a hung one hangs again."""

    connections: PostgresConnections

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109  # the driver's signature
        self.connections.dismiss(self)

    async def part(self) -> None:
        """Stops what runs on it, if the server still listens, and says goodbye."""
        try:
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await super().close()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pass
        finally:
            self.terminate()
            self._transport.abort()  # asyncpg 0.30 leaves it open where its own goodbye hangs


def connection_arguments(url: URL) -> dict[str, Any]:
    """What asyncpg is to be called with. Raises ConfigurationError for a URL that it cannot follow."""
    try:
        given: dict[str, Any] = dict(url.get_dialect()().create_connect_args(url)[1])
        given.update((name, int(given[name])) for name in _NUMBERS if name in given)
    except (ArgumentError, ValueError) as error:
        raise ConfigurationError(f"the database URL cannot be used: {error}") from None
    if given.pop("channel_binding", "prefer") == "require":
        raise ConfigurationError(
            "the database URL asks for channel_binding=require, which asyncpg cannot do; leave it out and say"
            " sslmode=verify-full instead"
        )
    for name in _NOT_ASKED:
        given.pop(name, None)
    arguments = {name: given.pop(name) for name in _ARGUMENTS & given.keys()}
    if given:
        # The names that psql and hosting platforms use, such as sslmode and sslrootcert, are known to asyncpg only in
        # a URL of its own. What it does not know is a setting of the server: application_name, options.
        arguments["dsn"] = "postgresql:///?" + urlencode(given)
    return arguments


def _note_use(_adapted: object, entry: ConnectionPoolEntry) -> None:
    with contextlib.suppress(RuntimeError):  # given back when the loop is gone
        entry.info["used_at"] = asyncio.get_running_loop().time()
