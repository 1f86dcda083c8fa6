"""A database of its own for each test, on every kind that an inbox can be kept in, asked as another process would."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import os
import sqlite3
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import asyncpg
import pytest

T = TypeVar("T")

KINDS = ("sqlite", "postgres")
SERVER = os.environ.get("MORAG_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/test")
"""A database of the server in which those of the tests are made."""
REQUIRED = os.environ.get("MORAG_TEST_REQUIRE", "").split(",")
"""The kinds without which the tests fail, where they would be skipped otherwise."""

_PATIENCE = 15.0
_numbers = itertools.count(1)


@dataclass(frozen=True)
class TestDatabase:
    """A database with nothing in it; `path` is the file of a SQLite one."""

    __test__ = False

    kind: str
    url: str
    path: Path | None = None

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """What somebody else sees in it."""
        if self.path is not None:
            with contextlib.closing(sqlite3.connect(self.path, timeout=5)) as connection:
                return connection.execute(sql).fetchall()
        return [tuple(row) for row in in_thread(_fetch(self.url, sql))]

    def execute(self, *statements: str) -> None:
        """Changes something behind the inbox's back."""
        if self.path is not None:
            with contextlib.closing(sqlite3.connect(self.path, timeout=5)) as connection, connection:
                for statement in statements:
                    connection.execute(statement)
        else:
            in_thread(_fetch(self.url, *statements))


@contextlib.contextmanager
def fresh(kind: str, folder: Path) -> Iterator[TestDatabase]:
    """A new one, gone afterwards, whoever still is connected; the test is skipped where there is no server."""
    if kind == "sqlite":
        path = folder / "inbox.db"
        yield TestDatabase(kind, f"sqlite:///{path}", path)
        return
    need_postgres()
    name = f"morag_test_{os.getpid()}_{next(_numbers)}"
    in_thread(_fetch(SERVER, f"CREATE DATABASE {name} TEMPLATE template0"))
    try:
        yield TestDatabase(kind, urlsplit(SERVER)._replace(path=f"/{name}").geturl())
    finally:
        in_thread(_fetch(SERVER, f"DROP DATABASE {name} WITH (FORCE)"))


def need_postgres() -> None:
    """Skips the test where PostgreSQL is absent, or fails it where it must not be."""
    trouble = _trouble()
    if trouble is not None and "postgres" in REQUIRED:
        pytest.fail(trouble)
    if trouble is not None:
        pytest.skip(trouble)


def in_thread(work: Coroutine[Any, Any, T]) -> T:
    """What the coroutine returns, run in an event loop of its own, wherever one is."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(asyncio.run, work).result()


@functools.cache
def _trouble() -> str | None:
    try:
        in_thread(_fetch(SERVER, "SELECT 1"))
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        parts = urlsplit(SERVER)
        where = f"{parts.hostname}:{parts.port or 5432}{parts.path}"
        said = str(error) or type(error).__name__
        return f"not tested with PostgreSQL: none at {where} ({said}); MORAG_TEST_POSTGRES says another URL"
    return None


async def _fetch(url: str, *statements: str) -> list[Any]:
    rows: list[Any] = []
    async with asyncio.timeout(_PATIENCE):
        connection = await asyncpg.connect(url)
        try:
            for statement in statements:
                rows = await connection.fetch(statement)
        finally:
            connection.terminate()
    return rows
