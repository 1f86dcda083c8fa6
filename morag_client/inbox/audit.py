"""Who let what happen again, gave it up or removed it, and why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final

from sqlalchemy import insert, select, update
from sqlalchemy.engine import Connection

from morag_client.inbox.asking import checked_limit
from morag_client.inbox.rows import clean, now
from morag_client.inbox.tables import ID_LENGTH, Tables

_WHY_LENGTH: Final = 8192


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One thing that was done to what is stored; `affected` is to how many rows."""

    id: int
    at: datetime
    action: str
    who: str
    why: str | None
    criteria: Mapping[str, Any]
    affected: int


def note(
    connection: Connection,
    tables: Tables,
    *,
    action: str,
    who: str,
    why: str | None,
    criteria: Mapping[str, Any],
    affected: int,
) -> int:
    """Writes down what this transaction does; the entry's id."""
    values = {
        "at": now(),
        "action": action,
        "who": clean(who, ID_LENGTH),
        "why": clean(why, _WHY_LENGTH),
        "criteria": json.dumps(criteria).replace("\\u0000", ""),
        "affected": affected,
    }
    return int(connection.execute(insert(tables.audit).values(values).returning(tables.audit.c.id)).scalar_one())


def add(connection: Connection, tables: Tables, entry_id: int, *, affected: int) -> None:
    """Counts what this transaction does, as a further part of what an entry tells of."""
    entry = update(tables.audit).where(tables.audit.c.id == entry_id)
    connection.execute(entry.values(affected=tables.audit.c.affected + affected))


class Entry:
    """One entry for what is done in several transactions; the first of them that does something writes it."""

    def __init__(self, tables: Tables, *, action: str, who: str, why: str | None, criteria: Mapping[str, Any]) -> None:
        self._tables = tables
        self._first = partial(note, tables=tables, action=action, who=who, why=why, criteria=criteria)
        self._id: int | None = None
        self._pending: int | None = None

    def note(self, connection: Connection, *, affected: int) -> None:
        """Writes down what this transaction does."""
        if self._id is None:
            self._pending = self._first(connection, affected=affected)
        else:
            add(connection, self._tables, self._id, affected=affected)

    def committed(self) -> None:
        """The transaction is: one that was rolled back has left no entry to be added to."""
        self._id = self._pending


def newest(connection: Connection, tables: Tables, *, limit: int) -> list[AuditEntry]:
    """The newest entries, newest first. Raises ConfigurationError for a limit that cannot be."""
    audit = tables.audit
    rows = connection.execute(select(audit).order_by(audit.c.id.desc()).limit(checked_limit(limit)))
    return [AuditEntry(**{**row, "criteria": json.loads(row["criteria"])}) for row in rows.mappings()]
