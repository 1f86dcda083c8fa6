"""What was authentic and could not be understood: kept, once, until somebody acts."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Row, Select, bindparam, delete, func, select, update
from sqlalchemy.engine import Connection

from morag_client.errors import RecordNotFound
from morag_client.events.payloads import as_text
from morag_client.inbox import audit
from morag_client.inbox.asking import checked_limit
from morag_client.inbox.database import Database
from morag_client.inbox.portions import portions
from morag_client.inbox.reopening import LARGEST_ID, among
from morag_client.inbox.rows import Arrival
from morag_client.wire.delivery import Delivery
from morag_client.wire.signed_url import Claims

_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A delivery in quarantine: how it was answered (`status`, `code`, `problems`), and what of it is kept.

    `repeats` is how often it came again, `size` the bytes of its body; `body` is None in listings.
    """

    id: int
    received_at: datetime
    status: int
    code: str
    problems: Sequence[str]
    repeats: int
    tenant: str
    path: str
    query: str
    headers: Mapping[str, str]
    correlation: Mapping[str, str]
    size: int
    identity: bytes = field(repr=False)
    body: bytes | None = field(default=None, repr=False)

    @property
    def arrival(self) -> Arrival:
        """The delivery as it came, with what was found out about it then."""
        headers = tuple((name.encode(), value.encode("latin-1")) for name, value in self.headers.items())
        delivery = Delivery(body=self.body or b"", headers=headers, path=self.path, query=self.query)
        correlation = Claims(self.correlation).text if self.correlation else None
        return Arrival(delivery, self.identity, self.tenant, self.received_at, correlation)


class Refusal(NamedTuple):
    """A delivery that stays in quarantine, and what is wrong with it by now."""

    id: int
    status: int
    code: str
    problems: Sequence[str]


async def newest(database: Database, *, limit: int) -> list[Quarantined]:
    """The newest deliveries in quarantine, newest first, without their bodies.

    Raises InboxUnavailable, and ConfigurationError for a limit that cannot be.
    """
    table = database.tables.quarantine
    return await _fetch(database, _select(database, body=False).order_by(table.c.id.desc()).limit(checked_limit(limit)))


async def get(database: Database, quarantine_id: int) -> Quarantined:
    """The delivery of an id, with its body. Raises RecordNotFound and InboxUnavailable."""
    found = await load(database, [quarantine_id])
    if not found:
        raise RecordNotFound(f"there is no delivery {quarantine_id} in quarantine")
    return found[0]


async def load(database: Database, ids: Sequence[int]) -> list[Quarantined]:
    """Those that there are of these, with their bodies, in the order of their ids. Raises InboxUnavailable."""
    table = database.tables.quarantine
    wanted = among(database, table.c.id, [one for one in ids if 0 < one <= LARGEST_ID])
    return await _fetch(database, _select(database, body=True).where(wanted).order_by(table.c.id))


async def missing(database: Database, ids: Sequence[int]) -> list[int]:
    """Those of the ids of which there is none in quarantine, in the order given. Raises InboxUnavailable."""
    table = database.tables.quarantine
    statement = select(table.c.id).where(*_conditions(database, ids, None))
    found = {row.id for row in await database.read(partial(_rows, statement))} if ids else set[int]()
    return [one for one in dict.fromkeys(ids) if one not in found]


async def discard(
    database: Database,
    ids: Sequence[int] | None = None,
    *,
    before: datetime | None = None,
    action: str = "quarantine discard",
    who: str,
    why: str | None = None,
) -> int:
    """Deletes deliveries for good, all where neither ids nor a time of receipt is given; how many there were.

    In small transactions, under one entry of the audit. Raises InboxUnavailable; those before are committed then.
    """
    discarded = 0
    entry = entry_of(database, ids, before=before, action=action, who=who, why=why)
    async for portion in sized_portions(database, ids, before=before):
        discarded += await database.write(partial(_delete, portion, database=database, entry=entry))
        entry.committed()
    return discarded


def entry_of(
    database: Database,
    ids: Sequence[int] | None,
    *,
    before: datetime | None = None,
    action: str,
    who: str,
    why: str | None,
) -> audit.Entry:
    """The entry of the audit for what is done to these, all where neither ids nor a time of receipt is given."""
    given = {"ids": None if ids is None else list(ids), "before": before and as_text(before)}
    criteria = {key: value for key, value in given.items() if value is not None}
    return audit.Entry(database.tables, action=action, who=who, why=why, criteria=criteria)


async def count(database: Database, *, before: datetime) -> int:
    """How many were received before a time. Raises InboxUnavailable."""
    table = database.tables.quarantine
    statement = select(func.count()).select_from(table).where(table.c.received_at < before)
    return await database.read(lambda connection: connection.execute(statement).scalar_one())


async def sized_portions(
    database: Database, ids: Sequence[int] | None, *, before: datetime | None = None
) -> AsyncIterator[list[int]]:
    """The ids of those that are meant and there by now, in portions of bounded size. Raises InboxUnavailable."""
    table = database.tables.quarantine
    size = func.coalesce(func.length(table.c.body), 0)
    chosen = select(table.c.id, size.label("size")).where(*_conditions(database, ids, before)).order_by(table.c.id)
    # Not those that come meanwhile: a sender that never stops would keep us here.
    last = await database.read(lambda connection: connection.execute(select(func.max(table.c.id))).scalar())
    after = 0
    while last is not None and after < last:
        page = chosen.where(table.c.id > after, table.c.id <= last).limit(_PAGE)
        rows = await database.read(partial(_rows, page))
        if not rows:
            return
        after = rows[-1].id
        for portion in portions([(row.id, row.size) for row in rows]):
            yield portion


def settle(
    connection: Connection,
    *,
    database: Database,
    understood: Sequence[int],
    refused: Sequence[Refusal],
    entry: audit.Entry,
) -> None:
    """Takes out of quarantine what has a record by now, and writes down what is wrong with the others."""
    _delete(understood, connection, database=database, entry=entry)
    if refused:
        table = database.tables.quarantine
        statement = update(table).where(table.c.id == bindparam("which"))
        changed = statement.values(status=bindparam("s"), code=bindparam("c"), problems=bindparam("p"))
        values = [{"which": one.id, "s": one.status, "c": one.code, "p": json.dumps(one.problems)} for one in refused]
        connection.execute(changed, values)


def _delete(ids: Sequence[int], connection: Connection, *, database: Database, entry: audit.Entry) -> int:
    if not ids:
        return 0
    table = database.tables.quarantine
    deleted = connection.execute(delete(table).where(among(database, table.c.id, ids))).rowcount
    if deleted:
        entry.note(connection, affected=deleted)
    return deleted


def _conditions(database: Database, ids: Sequence[int] | None, before: datetime | None) -> list[ColumnElement[bool]]:
    table = database.tables.quarantine
    conditions: list[ColumnElement[bool]] = []
    if ids is not None:
        conditions.append(among(database, table.c.id, [one for one in ids if 0 < one <= LARGEST_ID]))
    if before is not None:
        conditions.append(table.c.received_at < before)
    return conditions


def _select(database: Database, *, body: bool) -> Select[Any]:
    table = database.tables.quarantine
    size = func.coalesce(func.length(table.c.body), 0).label("size")
    return select(*(column for column in table.c if body or column.name != "body"), size)


async def _fetch(database: Database, statement: Select[Any]) -> list[Quarantined]:
    return [_quarantined(row) for row in await database.read(partial(_rows, statement))]


def _quarantined(row: Row[Any]) -> Quarantined:
    values = dict(row._mapping)  # noqa: SLF001  # SQLAlchemy's public name for it
    values["problems"], values["headers"] = json.loads(values["problems"]), json.loads(values["headers"])
    values["correlation"] = json.loads(values["correlation"] or "{}")
    return Quarantined(**values)


def _rows(statement: Select[Any], connection: Connection) -> list[Any]:
    return list(connection.execute(statement))
