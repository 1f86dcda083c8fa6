"""Runs that gave up, or whose handlers are gone: kept until somebody acts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Select, func, literal_column, or_, select, update
from sqlalchemy.engine import Connection

from morag_client.errors import RecordNotFound
from morag_client.inbox import audit
from morag_client.inbox.asking import checked_limit, checked_text
from morag_client.inbox.database import Database
from morag_client.inbox.reopening import (
    BATCH,
    LARGEST_ID,
    LockedRecord,
    among,
    let_retry,
    lock,
    name_matches,
    reset_runs,
)
from morag_client.inbox.settling import ORPHANED, RETRYING, state_by_runs

OnBatch = Callable[[int], None]
"""Told after each batch's commit how many it were."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A handler's run that gave up; `id` is the run's. `traceback` is None in listings.

    `state` is `failed`, or `orphaned` where the run waits for a handler that is gone.
    """

    id: int
    record_id: int
    event_name: str
    task_id: str | None
    tenant: str
    handler: str
    attempts: int
    error: str | None
    finished_at: datetime | None
    state: str = "failed"
    traceback: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterFilter:
    """Which dead letters, all of what is given having to hold; nothing given: all. `name` is a pattern of `@on`.

    With `orphaned`, not those that gave up are meant, but those whose handlers are gone; an id may be of either.
    """

    ids: Sequence[int] | None = None
    handler: str | None = None
    name: str | None = None
    task_id: str | None = None
    orphaned: bool = False

    @property
    def is_everything(self) -> bool:
        return all(getattr(self, one.name) is None for one in fields(self) if one.name != "orphaned")


@dataclass(frozen=True, slots=True)
class Retried:
    """How many dead letters wait for their handlers again, and how many cannot, since their bodies were pruned."""

    retried: int = 0
    pruned: int = 0


async def newest(database: Database, wanted: DeadLetterFilter, *, limit: int) -> list[DeadLetter]:
    """The newest dead letters, newest first, without their tracebacks.

    Raises InboxUnavailable, and ConfigurationError for a limit or text that cannot be.
    """
    runs = database.tables.runs
    statement = _select(database, traceback=False).where(*_conditions(database, wanted))
    # SQLite would walk all runs in the order of their ids to find the few that are orphaned, but for the sum.
    number = runs.c.id + 0 if wanted.orphaned else runs.c.id
    rows = await database.read(partial(_rows, statement.order_by(number.desc()).limit(checked_limit(limit))))
    return [DeadLetter(**row._mapping) for row in rows]  # noqa: SLF001  # SQLAlchemy's public name for it


async def get(database: Database, run_id: int) -> DeadLetter:
    """The dead letter of an id, with its traceback. Raises RecordNotFound."""
    statement = _select(database, traceback=True).where(*_conditions(database, DeadLetterFilter(ids=[run_id])))
    rows = await database.read(partial(_rows, statement))
    if not rows:
        raise RecordNotFound(f"there is no dead letter {run_id}")
    return DeadLetter(**rows[0]._mapping)  # noqa: SLF001


async def count(database: Database, wanted: DeadLetterFilter) -> int:
    """How many there are. Raises InboxUnavailable."""
    statement = _select(database, traceback=False).with_only_columns(func.count())
    statement = statement.where(*_conditions(database, wanted))
    return await database.read(lambda connection: connection.execute(statement).scalar_one())


async def missing(database: Database, run_ids: Sequence[int]) -> list[int]:
    """Those of the ids that are no dead letter, in the order given. Raises InboxUnavailable."""
    if not run_ids:
        return []
    letters = await newest(database, DeadLetterFilter(ids=run_ids), limit=len(run_ids))
    found = {letter.id for letter in letters}
    return [run_id for run_id in dict.fromkeys(run_ids) if run_id not in found]


async def retry(
    database: Database,
    wanted: DeadLetterFilter,
    *,
    who: str,
    why: str | None = None,
    on_batch: OnBatch = lambda _: None,
) -> Retried:
    """Lets dead letters wait for their handlers again, with all their attempts; in batches, and audited.

    Raises InboxUnavailable; the batches before are committed then, and to call it again does no harm.
    """
    retried = pruned = 0
    entry = _entry(database, wanted, action="dead-letters retry", who=who, why=why)
    async for batch in _batches(database, wanted):
        done = await database.write(_Change(database, batch, entry=entry).retry)
        entry.committed()
        retried, pruned = retried + done.retried, pruned + done.pruned
        on_batch(len(batch))
    return Retried(retried, pruned)


async def discard(
    database: Database,
    wanted: DeadLetterFilter,
    *,
    who: str,
    why: str | None = None,
    on_batch: OnBatch = lambda _: None,
) -> int:
    """Gives dead letters up for good; how many there were. Their errors stay to be read with their records.

    Raises InboxUnavailable as `retry` does.
    """
    discarded = 0
    entry = _entry(database, wanted, action="dead-letters discard", who=who, why=why)
    async for batch in _batches(database, wanted):
        discarded += await database.write(_Change(database, batch, entry=entry).discard)
        entry.committed()
        on_batch(len(batch))
    return discarded


class _Change:
    """What happens to some dead letters in one transaction. `letters` are ids of runs, with those of their records."""

    def __init__(self, database: Database, letters: Sequence[tuple[int, int]], *, entry: audit.Entry) -> None:
        self._database = database
        self._run_ids = {run_id for run_id, _ in letters}
        self._record_ids = sorted({record_id for _, record_id in letters})
        self._entry = entry

    def retry(self, connection: Connection) -> Retried:
        records = lock(connection, self._database, self._record_ids)
        whole = [record for record in records if not record.is_pruned]
        runs = self._dead(whole)
        if runs:
            reset_runs(connection, self._database, runs)
            let_retry(connection, self._database, [record.id for record in whole if self._dead([record])])
            self._entry.note(connection, affected=len(runs))
        return Retried(len(runs), len(self._dead(records)) - len(runs))

    def discard(self, connection: Connection) -> int:
        tables = self._database.tables
        events, runs = tables.events, tables.runs
        records = lock(connection, self._database, self._record_ids)
        dead = self._dead(records)
        if dead:
            given_up = {"state": "discarded", "next_attempt_at": None, "scheduled_at": None}
            connection.execute(update(runs).where(among(self._database, runs.c.id, dead)).values(given_up))
            concerned = among(self._database, events.c.id, [one.id for one in records if self._dead([one])])
            # What is `stored` still comes to its other handlers.
            is_settled = or_(events.c.state == "failed", events.c.state == RETRYING)
            connection.execute(update(events).where(concerned, is_settled).values(state=state_by_runs(tables)))
            self._entry.note(connection, affected=len(dead))
        return len(dead)

    def _dead(self, records: Sequence[LockedRecord]) -> list[int]:
        """Those of the runs that still are dead letters, or orphans."""
        found = (run for record in records for run in record.runs)
        return [run.id for run in found if run.state in {"failed", ORPHANED} and run.id in self._run_ids]


def _entry(database: Database, wanted: DeadLetterFilter, *, action: str, who: str, why: str | None) -> audit.Entry:
    criteria = {key: value for key, value in asdict(wanted).items() if value is not None and value is not False}
    return audit.Entry(database.tables, action=action, who=who, why=why, criteria=criteria)


async def _batches(database: Database, wanted: DeadLetterFilter) -> AsyncIterator[list[tuple[int, int]]]:
    """The ids of runs and of their records; not of those that give up meanwhile."""
    runs = database.tables.runs
    chosen = _select(database, traceback=False).with_only_columns(runs.c.id, runs.c.record_id)
    chosen = chosen.where(*_conditions(database, wanted)).order_by(runs.c.id)
    last = await database.read(lambda connection: connection.execute(_last(chosen, runs.c.id)).scalar())
    after = 0
    while last is not None and after < last:
        page = chosen.where(runs.c.id > after, runs.c.id <= last).limit(BATCH)
        rows = await database.read(partial(_rows, page))
        if not rows:
            return
        after = rows[-1].id
        yield [(row.id, row.record_id) for row in rows]


def _last(chosen: Select[Any], number: ColumnElement[int]) -> Select[Any]:
    return chosen.order_by(None).order_by(number.desc()).with_only_columns(number).limit(1)


def _select(database: Database, *, traceback: bool) -> Select[Any]:
    events, runs = database.tables.events, database.tables.runs
    columns: list[ColumnElement[Any]] = [
        runs.c[name] for name in ("id", "record_id", "handler", "attempts", "error", "finished_at", "state")
    ]
    columns += [events.c.name.label("event_name"), events.c.task_id, events.c.tenant]
    columns += [runs.c.traceback] if traceback else []
    return select(*columns).join_from(runs, events, events.c.id == runs.c.record_id)


def _conditions(database: Database, wanted: DeadLetterFilter) -> list[ColumnElement[bool]]:
    events, runs = database.tables.events, database.tables.runs
    # Written as in the partial indexes, which a parameter would not be known to fit.
    dead, gone = (runs.c.state == literal_column(f"'{state}'") for state in ("failed", ORPHANED))
    meant = gone if wanted.orphaned else dead
    conditions: list[ColumnElement[bool]] = [or_(dead, gone) if wanted.ids is not None else meant]
    if wanted.ids is not None:
        conditions.append(among(database, runs.c.id, [one for one in wanted.ids if 0 < one <= LARGEST_ID]))
    if wanted.handler is not None:
        conditions.append(runs.c.handler == checked_text(wanted.handler, of="handler"))
    if wanted.task_id is not None:
        conditions.append(events.c.task_id == checked_text(wanted.task_id, of="task_id"))
    if wanted.name is not None:
        conditions.append(name_matches(database, events.c.name, wanted.name))
    return conditions


def _rows(statement: Select[Any], connection: Connection) -> list[Any]:
    return list(connection.execute(statement))
