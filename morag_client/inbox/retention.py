"""Pruning: what senders said and handlers raised long ago is let go of, while identities and outcomes stay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, update
from sqlalchemy.engine import Connection

from morag_client.errors import ConfigurationError
from morag_client.events.payloads import as_text
from morag_client.inbox import audit, quarantine
from morag_client.inbox.database import Database
from morag_client.inbox.portions import portions
from morag_client.inbox.reopening import among, lock
from morag_client.inbox.rows import now

_WINDOW: Final = 20_000
"""Records that one question looks at: there is no index on times, but ids are in the order of receipt."""
_SHORTEST_PAUSE: Final = 0.005
_LET_GO: Final = {
    "body": None,
    "data": None,
    "error_message": None,
    "correlation": None,
    "headers": "{}",
    # Both may carry what was signed into a URL.
    "path": "",
    "query": "",
}


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many records were pruned, or would be where it was a dry run, with how many bytes of bodies.

    `quarantined` are deliveries that were deleted from quarantine.
    """

    records: int = 0
    bytes: int = 0
    quarantined: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """What is to be pruned: records that are through and were received longer ago than `older_than`.

    `keep_failures` leaves those out of which a handler gave up; `with_quarantine` also deletes what is as old in
    quarantine. Raises ConfigurationError for an age that cannot be.
    """

    older_than: timedelta
    keep_failures: bool = False
    with_quarantine: bool = False

    def __post_init__(self) -> None:
        if self.older_than < timedelta(0):
            raise ConfigurationError("older_than= is an age, and no age is below 0")

    @property
    def before(self) -> datetime:
        """The time of receipt before which, by now, everything is old enough."""
        try:
            return now() - self.older_than
        except OverflowError:
            raise ConfigurationError("older_than= is an age from before the calendar begins") from None

    def described(self, before: datetime) -> dict[str, Any]:
        """What was given, as JSON can say it."""
        return {"before": as_text(before), "keep_failures": self.keep_failures}


async def count(database: Database, pruning: Pruning) -> Pruned:
    """What a pruning would do by now. Raises InboxUnavailable."""
    before = pruning.before
    records = size = 0
    async for sizes in _due(database, pruning, before):
        records, size = records + len(sizes), size + sum(one for _, one in sizes)
    quarantined = await quarantine.count(database, before=before) if pruning.with_quarantine else 0
    return Pruned(records, size, quarantined)


async def prune(
    database: Database,
    pruning: Pruning,
    *,
    who: str,
    why: str | None = None,
    on_portion: Callable[[Pruned], None] = lambda _: None,
) -> Pruned:
    """Lets go of what is old, in small transactions with pauses, so that deliveries are not held up; audited.

    `on_portion` is told after each what was done so far. Raises InboxUnavailable; what was done by then is committed,
    and to call it again goes on from there.
    """
    before = pruning.before
    at_work = _AtWork(database, pruning, before, who=who, why=why)
    records = size = 0
    async for sizes in _due(database, pruning, before):
        of = dict(sizes)
        for portion in portions(sizes):
            done = await at_work.prune(portion)
            records, size = records + len(done), size + sum(of[one] for one in done)
            on_portion(Pruned(records, size))
    quarantined = 0
    if pruning.with_quarantine:
        quarantined = await quarantine.discard(database, before=before, action="quarantine prune", who=who, why=why)
    return Pruned(records, size, quarantined)


class _AtWork:
    """Prunes one portion after the other, all under one entry of the audit."""

    def __init__(self, database: Database, pruning: Pruning, before: datetime, *, who: str, why: str | None) -> None:
        self._database = database
        self._conditions = _conditions(database, pruning, before)
        criteria = pruning.described(before)
        self._entry = audit.Entry(database.tables, action="prune", who=who, why=why, criteria=criteria)

    async def prune(self, record_ids: Sequence[int]) -> list[int]:
        """The ids of those that still were to be pruned, and now are."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        done = await self._database.write(partial(self._prune, record_ids))
        self._entry.committed()
        # As long as it took: whoever wants to write has at least half of the time.
        await asyncio.sleep(max(loop.time() - began, _SHORTEST_PAUSE))
        return done

    def _prune(self, record_ids: Sequence[int], connection: Connection) -> list[int]:
        database, (events, runs) = self._database, (self._database.tables.events, self._database.tables.runs)
        # Once more, and locked: a replay may have come in between.
        records = lock(connection, database, record_ids, *self._conditions)
        done = [record.id for record in records]
        if run_ids := [run.id for record in records for run in record.runs]:
            said = or_(runs.c.error.is_not(None), runs.c.traceback.is_not(None))
            mine = update(runs).where(among(database, runs.c.id, run_ids), said)
            connection.execute(mine.values(error=None, traceback=None))
        if done:
            connection.execute(update(events).where(among(database, events.c.id, done)).values(_LET_GO))
            self._entry.note(connection, affected=len(done))
        return done


def _conditions(database: Database, pruning: Pruning, before: datetime) -> list[ColumnElement[bool]]:
    """What has to hold of a record: it is old, nothing waits for it any more, and it was not pruned yet."""
    events = database.tables.events
    states = ["handled"] if pruning.keep_failures else ["handled", "failed"]
    return [events.c.received_at < before, events.c.state.in_(states), events.c.body.is_not(None)]


async def _due(database: Database, pruning: Pruning, before: datetime) -> AsyncIterator[list[tuple[int, int]]]:
    """Records that are to be pruned, window by window: their ids and the bytes of their bodies."""
    events = database.tables.events
    conditions = _conditions(database, pruning, before)
    last = await _first(database, select(func.max(events.c.id)))
    after = 0
    while last is not None and after < last:
        ahead = select(events.c.id).where(events.c.id > after, events.c.id <= last).order_by(events.c.id)
        up_to = await _first(database, ahead.offset(_WINDOW - 1).limit(1)) or last
        window = and_(events.c.id > after, events.c.id <= up_to)
        chosen = select(events.c.id, func.length(events.c.body)).where(window, *conditions).order_by(events.c.id)
        found = await database.read(partial(_pairs, chosen))
        if found:
            yield found
        elif await _is_young(database, window, before):
            return
        after = up_to


async def _is_young(database: Database, window: ColumnElement[bool], before: datetime) -> bool:
    """Whether all that comes after a window without anything to do is younger.

    Clocks are set back: what claims to come from the future says nothing about its neighbours.
    """
    received_at = database.tables.events.c.received_at
    oldest = await _first(database, select(func.min(received_at)).where(window, received_at <= now()))
    return oldest is not None and oldest >= before


async def _first(database: Database, statement: Select[Any]) -> Any:
    return await database.read(lambda connection: connection.execute(statement).scalar())


def _pairs(statement: Select[Any], connection: Connection) -> list[tuple[int, int]]:
    return [(number, size) for number, size in connection.execute(statement)]
