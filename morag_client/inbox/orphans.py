"""Runs whose handler exists in none of the processes that looked at them when they were due.

Which handlers there are is known to an application, not to the database. So a worker that comes to a run without
having its handler writes that down: the run is `orphaned` and nobody's turn any more, until a worker comes that has the
handler. Two releases can work side by side like that, and one gets what the other has no handler for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import literal_column, select, update
from sqlalchemy.engine import Connection

from morag_client.inbox.clock import database_clock
from morag_client.inbox.database import Database
from morag_client.inbox.settling import RETRYING

_AT_ONCE: Final = 500


async def adopt(database: Database, handlers: Sequence[str]) -> int:
    """Lets orphaned runs of these handlers be tried again now; how many there were. Raises InboxUnavailable."""
    runs, clock = database.tables.runs, database_clock(database)
    # Written as in the partial index, which a parameter would not be known to fit.
    theirs = runs.c.state == literal_column("'orphaned'"), runs.c.handler.in_(handlers)
    some = select(runs.c.id).where(*theirs).limit(1)
    # Those that somebody is just changing are left to the next time: who waits for nobody is in nobody's way.
    free = select(runs.c.id).where(*theirs).order_by(runs.c.id).limit(_AT_ONCE).with_for_update(skip_locked=True)
    due = {"state": RETRYING, "next_attempt_at": clock, "scheduled_at": clock}

    def work(connection: Connection) -> int:
        found = connection.execute(free).scalars().all()
        if found:
            connection.execute(update(runs).where(runs.c.id.in_(found)).values(due))
        return len(found)

    if await database.read(lambda connection: connection.execute(some).first()) is None:
        return 0
    adopted = 0
    while adopted % _AT_ONCE == 0 and (number := await database.write(work)):
        adopted += number
    return adopted
