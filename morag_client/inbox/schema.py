"""Bringing the tables up to date, once, whoever starts first."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final, Literal

from sqlalchemy import Column, MetaData, String, Table, func, inspect, select
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from morag_client.errors import ConfigurationError
from morag_client.inbox.database import Database, unavailable
from morag_client.inbox.tables import Tables

HEAD: Final = "0006"
"""The newest revision under migrations/versions; kept here so that Alembic is imported only where there is work."""

_LONGEST_UPGRADE: Final = 600.0
"""Seconds: tables may be large, and another process may be at it."""

_LOCK: Final = 0x6D6F7261
"""The first half of the advisory lock's key, so that it is not another application's."""

MIGRATIONS: Final = Path(__file__).parent / "migrations"


Standing = Literal["missing", "behind", "current", "newer"]
"""How tables are, to this release: not there, of an earlier one, its own, or of one that it does not know."""


async def upgrade(database: Database) -> str | None:
    """Creates or updates the tables; the revision that this found, None where there were no tables.

    Where others are at it at the same time, one of them finds what was there, the rest what that one made. Raises
    ConfigurationError where tables of our names are not ours or are newer than this release, and InboxUnavailable where
    the database does not answer.
    """
    try:
        await database.prepare()
        before = await revision_of(database)
        if before == HEAD:
            return before
        # Half the start-up time, and needed once in a database's life. Not while the database waits for it: four
        # processes that import it one after the other take longer than the last one may wait.
        import alembic.command  # noqa: PLC0415
        import alembic.config  # noqa: F401, PLC0415

        return await database.write(partial(_upgrade, database=database), patience=_LONGEST_UPGRADE)
    except DBAPIError as error:
        raise unavailable(error) from error


async def revision_of(database: Database) -> str | None:
    """The revision that the tables have, None where there are none yet; changes nothing.

    Raises ConfigurationError where tables of our names are not ours, and InboxUnavailable.
    """
    return await database.read(partial(current, tables=database.tables))


def standing(revision: str | None) -> Standing:
    """How tables of a revision are, to this release."""
    if revision is None or revision == HEAD:
        return "missing" if revision is None else "current"
    known = {path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py")}
    return "behind" if revision in known else "newer"


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


def _upgrade(connection: Connection, database: Database) -> str | None:
    if not database.is_sqlite:
        # Whoever comes second waits here, and then finds it done.
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK, func.hashtext(database.tables.version))))
    revision = current(connection, database.tables)
    if revision == HEAD:  # another process was faster
        return revision
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
    return revision
