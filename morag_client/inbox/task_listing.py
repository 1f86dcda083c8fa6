"""Tasks page by page, and found by what somebody knows of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, Select, Table, func, literal_column, or_, select, union
from sqlalchemy.engine import Connection

from morag_client.inbox.asking import checked_limit, checked_text
from morag_client.inbox.database import Database
from morag_client.wire.identity import task_key

SEARCH_WINDOW: Final = 20_000
"""So many of the newest tasks are looked through for a part of an id, or for a correlation."""
STALLED_WINDOW: Final = 10_000
ENDED_WINDOW: Final = 10_000
OPEN: Final = ("pending", "running")
ENDED: Final = ("completed", "failed", "cancelled", "lost")
STATES: Final = (*OPEN, *ENDED)


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task as it is stored; `number` is the id of its first record, by which tasks are in order."""

    key: bytes
    number: int
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Standing:
    """How many tasks are in each state, and how many of the oldest 10,000 open ones have been silent for long.

    Those in flight are counted exactly, those that have ended among the newest 10,000 tasks.
    """

    states: Mapping[str, int]
    stalled: int


async def page(
    database: Database,
    *,
    limit: int,
    states: Sequence[str] = (),
    document_id: str | None = None,
    before: int | None = None,
    silent_since: datetime | None = None,
    patience: float,
) -> list[TaskRow]:
    """The newest tasks, newest first; of these states (none given: all), this document, with a number below `before`.

    With `silent_since`, of the 10,000 oldest ones in flight those that nothing was heard of since then, oldest first.
    Raises InboxUnavailable, and ConfigurationError for what cannot be asked.
    """
    tasks, count = database.tables.tasks, checked_limit(limit)
    if silent_since is not None:
        statement = _stalled(tasks, silent_since).limit(count)
    elif document_id is not None:
        wanted = [tasks.c.document_id == checked_text(document_id, of="document_id"), *_before(tasks, before)]
        wanted += [tasks.c.state.in_(_literally(states))] if states else []
        statement = _newest(select(tasks).where(*wanted, tasks.c.first_record_id.is_not(None)), tasks, count)
    else:
        statement = _page(tasks, states=states, before=before, limit=count)
    return await database.read(lambda connection: _rows(connection, statement), patience=patience)


async def search(database: Database, text: str, *, limit: int, patience: float) -> list[TaskRow]:
    """The newest tasks that this text may mean, newest first.

    It is a whole task id, `ref` of a signed URL, or document id, of any age; or a part of one of these or of a
    correlation, among the newest 20,000 tasks. Raises InboxUnavailable and ConfigurationError.
    """
    checked, count = checked_text(text, of="text"), checked_limit(limit)

    def work(connection: Connection) -> list[TaskRow]:
        tasks = database.tables.tasks
        statements = (
            _by_key(tasks, checked, tenants=connection.execute(_tenants(tasks)).scalars().all()),
            _newest(select(tasks).where(tasks.c.document_id == checked, _listed(tasks)), tasks, count),
            _containing(tasks, checked, is_sqlite=database.is_sqlite).limit(count),
        )
        found = {row.key: row for statement in statements for row in _rows(connection, statement)}
        return sorted(found.values(), key=lambda row: -row.number)[:count]

    return await database.read(work, patience=patience)


async def get(database: Database, key: bytes, *, patience: float) -> TaskRow | None:
    """The task of a key, None where there is none. Raises InboxUnavailable."""
    tasks = database.tables.tasks
    statement = select(tasks).where(tasks.c.key == key)
    found = await database.read(lambda connection: _rows(connection, statement), patience=patience)
    return found[0] if found else None


async def standing(database: Database, *, silent_since: datetime, patience: float) -> Standing:
    """How the tasks are doing. Raises InboxUnavailable."""
    tasks = database.tables.tasks
    in_flight = tasks.c.state.in_(_literally(OPEN)), _listed(tasks)
    open_ones = select(tasks.c.state, func.count().label("number")).where(*in_flight).group_by(tasks.c.state)
    newest = _newest(select(tasks.c.state, tasks.c.first_record_id).where(_listed(tasks)), tasks, ENDED_WINDOW)
    newest_state = newest.subquery().c.state
    ended = select(newest_state, func.count().label("number")).group_by(newest_state)
    stalled = select(func.count()).select_from(_stalled(tasks, silent_since).subquery())

    def work(connection: Connection) -> Standing:
        by_state = {row.state: row.number for row in connection.execute(ended) if row.state in ENDED}
        by_state |= {row.state: row.number for row in connection.execute(open_ones)}
        return Standing(by_state, int(connection.execute(stalled).scalar_one()))

    return await database.read(work, patience=patience)


async def completed_steps(database: Database, *, tasks: int, patience: float) -> list[str]:
    """The steps of the newest so many completed tasks, as they are stored. Raises InboxUnavailable."""
    table = database.tables.tasks
    completed = table.c.state == literal_column("'completed'")
    newest = _newest(select(table.c.steps, table.c.first_record_id).where(completed, _listed(table)), table, tasks)
    return await database.read(
        lambda connection: [row.steps for row in connection.execute(newest) if row.steps], patience=patience
    )


def _page(tasks: Table, *, states: Sequence[str], before: int | None, limit: int) -> Select[Any]:
    conditions = [_listed(tasks), *_before(tasks, before)]
    if not states:
        return _newest(select(tasks).where(*conditions), tasks, limit)
    # Of each state the newest ones, from the index, and of these the newest.
    parts = [
        select(_newest(select(tasks.c.key).where(tasks.c.state == state, *conditions), tasks, limit).subquery().c.key)
        for state in _literally(states)
    ]
    return _newest(select(tasks).where(tasks.c.key.in_(union(*parts))), tasks, limit)


def _stalled(tasks: Table, silent_since: datetime) -> Select[Any]:
    parts = [
        select(
            select(tasks.c.key, tasks.c.first_record_id)
            .where(tasks.c.state == state, _listed(tasks))
            .order_by(tasks.c.first_record_id)
            .limit(STALLED_WINDOW)
            .subquery()
            .c.key
        )
        for state in _literally(OPEN)
    ]
    silent = tasks.c.key.in_(union(*parts)), tasks.c.updated_at < silent_since
    return select(tasks).where(*silent).order_by(tasks.c.first_record_id)


def _by_key(tasks: Table, text: str, *, tenants: Sequence[str]) -> Select[Any]:
    known = {"", *tenants}
    keys = [task_key(tenant=tenant, task_id=text) for tenant in known]
    keys += [task_key(tenant=tenant, task_id=None, ref=text) for tenant in known]
    return select(tasks).where(tasks.c.key.in_(keys), _listed(tasks))


def _tenants(tasks: Table) -> Select[Any]:
    newest = _newest(select(tasks.c.tenant, tasks.c.first_record_id).where(_listed(tasks)), tasks, SEARCH_WINDOW)
    return select(newest.subquery().c.tenant).distinct()


def _containing(tasks: Table, text: str, *, is_sqlite: bool) -> Select[Any]:
    find = func.instr if is_sqlite else func.strpos
    window = _newest(select(tasks).where(_listed(tasks)), tasks, SEARCH_WINDOW).subquery()
    parts = [find(window.c[name], text) > 0 for name in ("task_id", "document_id", "correlation")]
    return select(window).where(or_(*parts)).order_by(window.c.first_record_id.desc())


def _newest(statement: Select[Any], tasks: Table, limit: int) -> Select[Any]:
    return statement.order_by(tasks.c.first_record_id.desc()).limit(limit)


def _listed(tasks: Table) -> ColumnElement[bool]:
    return tasks.c.first_record_id.is_not(None)


def _before(tasks: Table, number: int | None) -> list[ColumnElement[bool]]:
    return [] if number is None else [tasks.c.first_record_id < number]


def _literally(states: Sequence[str]) -> list[ColumnElement[str]]:
    """As they stand in an index of some states only; they are words of ours."""
    assert set(states) <= set(STATES)  # noqa: S101
    return [literal_column(f"'{state}'") for state in states]


def _rows(connection: Connection, statement: Select[Any]) -> list[TaskRow]:
    return [_row(row) for row in connection.execute(statement)]


def _row(row: Row[Any]) -> TaskRow:
    return TaskRow(bytes(row.key), row.first_record_id, row._asdict())
