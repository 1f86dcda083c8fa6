"""When runs are tried again, where the clock was set back or somebody wants it now."""

from __future__ import annotations

from sqlalchemy import select, update
from sqlalchemy.engine import Connection

from morag_client.inbox.clock import database_clock
from morag_client.inbox.database import Database


async def read_clock(database: Database) -> float:
    """The database's clock (seconds since 1970)."""
    return await database.read(lambda connection: connection.execute(select(database_clock(database))).scalar_one())


async def mend_schedule(database: Database) -> int:
    """Lets runs that were scheduled in what is now the future wait from now on; how many there were.

    A clock that was set back by an hour would otherwise let every retry wait an hour longer.
    """
    runs, clock = database.tables.runs, database_clock(database)
    statement = (
        update(runs)
        .where(runs.c.next_attempt_at.is_not(None), runs.c.scheduled_at > clock + 1.0)
        .values(next_attempt_at=runs.c.next_attempt_at - runs.c.scheduled_at + clock, scheduled_at=clock)
    )

    def work(connection: Connection) -> int:
        return connection.execute(statement).rowcount

    return await database.write(work)
