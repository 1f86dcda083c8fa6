"""A database for each server that is measured, gone afterwards, and the few questions that are put to it meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import os
import sqlite3
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import asyncpg
from machine import FOLDER, Unmeasurable

TITLES = {"sqlite": "SQLite", "postgres": "PostgreSQL"}
KINDS = tuple(TITLES)
DEFAULT_POSTGRES = "postgresql://postgres@127.0.0.1:5432/test"
_PATIENCE = 10.0
"""Seconds, for a connection and for what is said over it."""
_FILLING = 900.0
_CONTINUE_IDS = """
DO $$
DECLARE name text;
BEGIN
    FOR name IN SELECT table_name FROM information_schema.columns
        WHERE table_schema = 'public' AND column_name = 'id' AND data_type IN ('integer', 'bigint')
    LOOP
        EXECUTE format('SELECT setval(pg_get_serial_sequence(%L, ''id'')::regclass, max(id)) FROM %I', name, name);
    END LOOP;
END $$
"""
_numbers = itertools.count(1)


class Database(Protocol):
    """What the benchmarks need of one; `url` is the one of morag-client, `async_url` SQLAlchemy's."""

    url: str
    async_url: str

    def ask(self, question: str) -> list[tuple[Any, ...]]:
        """The rows. Raises Unmeasurable where it does not answer."""

    def columns(self, table: str) -> list[str]: ...

    def fill(self, statements: Sequence[str]) -> None:
        """Runs what fills it, while no server does; `variant(key, n)` makes another key of 16 bytes of one."""


class SqliteDatabase:
    """A file that the servers make, asked while they write to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"
        self.async_url = f"sqlite+aiosqlite:///{path}"

    def ask(self, question: str) -> list[tuple[Any, ...]]:
        try:
            with contextlib.closing(sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True)) as connection:
                return connection.execute(question).fetchall()
        except sqlite3.Error as error:
            raise Unmeasurable(f"the database does not answer: {error}") from error

    def columns(self, table: str) -> list[str]:
        return [str(name) for (name,) in self.ask(f"SELECT name FROM pragma_table_info('{table}')")]  # noqa: S608

    def fill(self, statements: Sequence[str]) -> None:
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.create_function("variant", 2, _variant, deterministic=True)
            connection.execute("PRAGMA synchronous = OFF")
            for statement in statements:
                connection.execute(statement)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with self.path.open("rb") as file:
            os.fsync(file.fileno())


class PostgresDatabase:
    """One of the server's databases, asked over a connection for each question: about 5 ms of a core."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.async_url = f"postgresql+asyncpg:{url.partition(':')[2]}"

    def ask(self, question: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in connected(self.url, lambda connection: connection.fetch(question))]

    def columns(self, table: str) -> list[str]:
        asked = f"SELECT column_name FROM information_schema.columns WHERE table_name = '{table}'"  # noqa: S608
        return [str(name) for (name,) in self.ask(asked)]

    def fill(self, statements: Sequence[str]) -> None:
        variant = "CREATE FUNCTION variant(bytea, int) RETURNS bytea IMMUTABLE LANGUAGE sql AS"
        body = "$$SELECT decode(md5($1 || convert_to($2::text, 'UTF8')), 'hex')$$"
        # Of the machine's own accord it would be vacuumed while it is measured.
        after = ("DROP FUNCTION variant", _CONTINUE_IDS, "VACUUM ANALYZE", "CHECKPOINT")

        async def run(connection: asyncpg.Connection) -> None:
            for statement in (f"{variant} {body}", "SET synchronous_commit = off", *statements, *after):
                await connection.execute(statement)

        connected(self.url, run, patience=_FILLING)


@contextlib.contextmanager
def fresh_database(kind: str, *, postgres: str) -> Iterator[Database]:
    """An empty one, removed with everything in it; `postgres` is the URL of a server's database to begin from."""
    if kind == "postgres":
        name = f"morag_bench_{os.getpid()}_{next(_numbers)}"
        try:
            connected(postgres, lambda connection: connection.execute(f"CREATE DATABASE {name}"))
            yield PostgresDatabase(urlsplit(postgres)._replace(path=f"/{name}").geturl())
        finally:
            connected(postgres, lambda connection: connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        return
    with tempfile.TemporaryDirectory(dir=FOLDER, prefix="databases-", ignore_cleanup_errors=True) as folder:
        yield SqliteDatabase(Path(folder) / "inbox.db")


def check_database(kind: str, *, postgres: str) -> dict[str, Any]:
    """What is to be said of it in a report. Raises Unmeasurable where it is not there, or commits cost nothing."""
    if kind != "postgres":
        return {}
    names = ("server_version", "fsync", "synchronous_commit")
    asked = "SELECT " + ", ".join(f"current_setting('{name}')" for name in names)
    found = dict(zip(names, PostgresDatabase(postgres).ask(asked)[0], strict=True))
    if (found["fsync"], found["synchronous_commit"]) != ("on", "on"):
        raise Unmeasurable("this PostgreSQL commits without waiting for the disk: set fsync and synchronous_commit on")
    return {"postgres": found["server_version"].partition(" ")[0]}


def connected(
    url: str, work: Callable[[asyncpg.Connection], Coroutine[Any, Any, Any]], *, patience: float = _PATIENCE
) -> Any:
    """What `work` returns with a connection. Raises Unmeasurable, also when `patience` seconds have passed."""

    async def run() -> Any:
        async with asyncio.timeout(patience):
            connection = await asyncpg.connect(url, timeout=_PATIENCE)
            try:
                # Asked while rows come and go by the thousand, it does not know yet that its indexes are the short way.
                await connection.execute("SET enable_seqscan = off; SET jit = off")
                return await work(connection)
            finally:
                await connection.close(timeout=_PATIENCE)

    try:
        return asyncio.run(run())
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        reason = str(error) or type(error).__name__
        raise Unmeasurable(f"no use of PostgreSQL at {_shown(url)} ({reason}); say another with --postgres") from error


def _shown(url: str) -> str:
    """Without a password."""
    parts = urlsplit(url)
    return f"{parts.netloc.rpartition('@')[2]}{parts.path}"


def _variant(key: bytes | None, number: int) -> bytes | None:
    return None if key is None else hashlib.md5(key + str(number).encode(), usedforsecurity=False).digest()
