"""What the inbox says of how far its records are, and an inbox that has had a million of them."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

from bodies import PIPELINES, prepare_bodies
from databases import Database
from loading import Side
from machine import Unmeasurable
from peers import receiver
from serving import running

_SEED_SECONDS = 2
_SEED_BODIES = 50_000
_TABLES = ("webhook_events", "webhook_handler_runs", "webhook_tasks")
_DRAIN = 120.0
"""Seconds."""


def count(database: Database, condition: str = "", *, table: str = "webhook_events") -> int:
    """How many of a table's rows fulfil it."""
    where = f" WHERE {condition}" if condition else ""
    return int(database.ask(f"SELECT count(*) FROM {table}{where}")[0][0])  # noqa: S608  # our own names


def count_waiting(database: Database) -> int:
    """The records whose handlers have not run; cheap while there are few: they have an index of their own."""
    return count(database, "state = 'stored'")


def await_drained(database: Database, *, patience: float) -> float | None:
    """How many seconds it took until no record waited any more; None if some still do after `patience`."""
    began = time.monotonic()
    while time.monotonic() - began < patience:
        if not count_waiting(database):
            return time.monotonic() - began
        time.sleep(0.1)
    return None


def fill_inbox(database: Database, *, rows: int, connections: int = 64) -> int:
    """Puts so many handled records into an empty one, with their runs and tasks; returns how many they became.

    Some are sent, handled and settled; the others are their copies under other keys. Raises Unmeasurable.
    """
    sys.stderr.write(f"== filling an inbox with {rows} records\n")
    with running(receiver(database, handlers=True)) as server:
        side = Side([server], prepare_bodies(PIPELINES, count=_SEED_BODIES))
        side.load(_SEED_SECONDS, connections=connections)
        if await_drained(database, patience=_DRAIN) is None:
            raise Unmeasurable(f"the records to begin with were not handled within {_DRAIN:g} s")
    seed = count(database)
    if not seed:
        raise Unmeasurable("the receiver stored nothing")
    database.fill(list(_copies(database, number=max(0, -(-rows // seed) - 1))))
    return count(database)


def _copies(database: Database, *, number: int) -> Iterator[str]:
    """The statements that copy what is there: ids go on counting, keys become others, all else stays as it is."""
    last = {table: _last_id(database, table) for table in _TABLES}
    for table in _TABLES:
        columns = database.columns(table)
        changed = {
            "id": f"id + {last[table]} * {{0}}",
            **dict.fromkeys(("record_id", "first_record_id"), f"{{1}} + {last['webhook_events']} * {{0}}"),
            "task_id": "task_id || '-' || {0}",
            **dict.fromkeys(("identity", "task_key", "key"), "variant({1}, {0})"),
        }
        yield f"CREATE TEMP TABLE seed AS SELECT * FROM {table}"  # noqa: S608  # our own names
        for copy in range(1, number + 1):
            values = ", ".join(changed.get(column, "{1}").format(copy, f'"{column}"') for column in columns)
            names = ", ".join(f'"{column}"' for column in columns)
            yield f"INSERT INTO {table} ({names}) SELECT {values} FROM seed"  # noqa: S608
        yield "DROP TABLE seed"


def _last_id(database: Database, table: str) -> int:
    if "id" not in database.columns(table):
        return 0
    return int(database.ask(f"SELECT max(id) FROM {table}")[0][0] or 0)  # noqa: S608
