"""Bringing the tables up to date, once, whoever starts first."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import Column, MetaData, String, Table, inspect, select
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from morag_client.errors import ConfigurationError
from morag_client.inbox.database import Database, unavailable
from morag_client.inbox.tables import Tables

HEAD: Final = "0001"
"""The newest revision under migrations/versions; kept here so that Alembic is imported only where there is work."""

MIGRATIONS: Final = Path(__file__).parent / "migrations"


async def upgrade(database: Database) -> None:
    """Creates or updates the tables.

    Raises ConfigurationError where tables of our names are not ours or are newer than this release, and
    InboxUnavailable where the database does not answer.
    """
    try:
        await database.prepare()
        async with database.reading() as connection:
            if await connection.run_sync(current, database.tables) == HEAD:
                return
        # Half the start-up time, and needed once in a database's life. Not while the database waits for it: four
        # processes that import it one after the other take longer than the last one may wait.
        import alembic.command  # noqa: PLC0415
        import alembic.config  # noqa: F401, PLC0415

        async with database.writing() as connection:
            await connection.run_sync(_upgrade, database)
    except DBAPIError as error:
        raise unavailable(error) from error


def current(connection: Connection, tables: Tables) -> str | None:
    """The revision that the tables have, None where there are none yet."""
    names = set(inspect(connection).get_table_names())
    if tables.version not in names:
        foreign = sorted(names & {table.name for table in tables.metadata.tables.values()})
        if foreign:
            raise ConfigurationError(
                f"the database has a table {foreign[0]!r} that morag-client did not make;"
                " set table_prefix (MORAG_TABLE_PREFIX), for example morag_, or give another database"
            )
        return None
    version = Table(tables.version, MetaData(), Column("version_num", String(32)))
    return connection.execute(select(version.c.version_num)).scalar()


def _upgrade(connection: Connection, database: Database) -> None:
    revision = current(connection, database.tables)
    if revision == HEAD:  # another process was faster
        return
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes.update(connection=connection, prefix=database.prefix, version_table=database.tables.version)
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise ConfigurationError(
            f"the tables are of revision {revision!r}, which this release does not know; install a newer morag-client"
        ) from error
