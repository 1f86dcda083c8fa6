"""Giving the space back that pruned records have left."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path
from typing import Final

from sqlalchemy.exc import DBAPIError

from morag_client.inbox.database import Database, unavailable

_PATIENCE: Final = 10.0
"""Seconds that somebody else may go on writing before a SQLite file is ours."""


async def vacuum(database: Database) -> tuple[int, int] | None:
    """Makes a SQLite file smaller (its bytes before and after), or lets PostgreSQL use the space again (None).

    Nobody can write into a SQLite file meanwhile, and for a moment it needs its size once more on the disk. PostgreSQL
    goes on as ever; its files do not become smaller. Raises InboxUnavailable.
    """
    try:
        if database.is_sqlite:
            return await _vacuum_file(Path(database.location.url.database or ""))
        tables = database.tables
        async with database.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            for table in (tables.events, tables.runs, tables.quarantine):
                await connection.exec_driver_sql(f'VACUUM (ANALYZE) "{table.name}"')
    except (sqlite3.Error, DBAPIError, OSError) as error:
        raise unavailable(error) from error
    return None


async def _vacuum_file(path: Path) -> tuple[int, int]:
    with contextlib.closing(
        sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
    ) as connection:
        before = _size(path)
        work = asyncio.create_task(asyncio.to_thread(_vacuum, connection))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            connection.interrupt()
            await asyncio.wait([work])
            raise
        return before, _size(path)


def _vacuum(connection: sqlite3.Connection) -> None:
    connection.execute("VACUUM").close()
    # Else it is all in the write-ahead log, and the file as large as ever.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in (path, Path(f"{path}-wal")) if file.exists())
