"""What only one process at a time does, by the database's clock."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import or_, select, update
from sqlalchemy.engine import Connection

from morag_client.inbox.clock import database_clock
from morag_client.inbox.database import Database

_SLACK: Final = 1.0
"""Seconds by which a clock may be set back without anybody having to wait longer for it."""
_PATIENCE: Final = 3.0
"""Seconds: a shutdown may wait for it."""


class Held(NamedTuple):
    """A lease that is ours; `since` is when anybody first had one of this name."""

    since: datetime


class Lease:
    """The lease of a name for one owner, good for so many `seconds` each time; a killed owner's is taken over then.

    Everything here raises InboxUnavailable.
    """

    def __init__(self, database: Database, name: str, *, owner: str, seconds: float) -> None:
        self._database = database
        self._leases = database.tables.leases
        self._name = name
        self._owner = owner
        self._seconds = seconds

    async def take(self, *, every: float = 0.0) -> Held | None:
        """The lease, where nobody has it and what it is for was not done within the last `every` seconds."""
        leases, clock = self._leases, database_clock(self._database)
        row = {"name": self._name, "owner": self._owner, "until": clock + self._seconds, "since": clock}
        # A clock that was set back makes times of the future, which say nothing.
        free = or_(
            leases.c.owner.is_(None),
            leases.c.owner == self._owner,
            leases.c.until < clock,
            leases.c.until > clock + self._seconds + _SLACK,
        )
        due = or_(leases.c.done_at.is_(None), leases.c.done_at <= clock - every, leases.c.done_at > clock + _SLACK)
        statement = self._database.insert(leases).values(row)
        statement = statement.on_conflict_do_update(
            index_elements=[leases.c.name],
            set_={"owner": self._owner, "until": clock + self._seconds},
            where=free & (due if every else True),
        ).returning(leases.c.since)
        since = await self._database.write(lambda connection: connection.execute(statement).scalar())
        return None if since is None else Held(datetime.fromtimestamp(since, UTC))

    async def note(self) -> None:
        """Says that from now on there is a lease of this name, though nobody has it."""
        clock = database_clock(self._database)
        statement = self._database.insert(self._leases).values(name=self._name, until=clock, since=clock)
        statement = statement.on_conflict_do_nothing(index_elements=[self._leases.c.name])
        await self._database.write(lambda connection: connection.execute(statement), patience=_PATIENCE)

    async def renew(self) -> bool:
        """Whether it still was ours; it then is for another while."""
        return await self._change(until=database_clock(self._database) + self._seconds)

    async def give_back(self, *, is_done: bool) -> None:
        """Lets the next one have it; with `is_done`, not before it is due again."""
        clock = database_clock(self._database)
        await self._change(owner=None, until=clock, **({"done_at": clock} if is_done else {}))

    async def holder(self) -> str | None:
        """Who has it, or had it last and was killed."""
        asked = select(self._leases.c.owner).where(self._leases.c.name == self._name)
        return await self._database.read(lambda connection: connection.execute(asked).scalar())

    async def _change(self, **values: Any) -> bool:
        leases = self._leases
        mine = update(leases).where(leases.c.name == self._name, leases.c.owner == self._owner).values(values)

        def work(connection: Connection) -> bool:
            return connection.execute(mine).rowcount > 0

        return await self._database.write(work, patience=_PATIENCE)
