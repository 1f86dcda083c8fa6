"""The tables. `webhook_events` has the guide's columns under the guide's names, and ours beside them.

It deviates from the guide's example where that cannot hold: `id` is a sequential integer (the guide's is made of the
task and the second, so two events of one second collide); `task_id`, `status` and `timestamp` may be null (three
dialects have no task, one has no time); `data` is null rather than the text "null".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)

# SQLite numbers rows by itself only in a column that is exactly INTEGER PRIMARY KEY.
_Number: Final = BigInteger().with_variant(Integer(), "sqlite")

ID_LENGTH: Final = 255
NAME_LENGTH: Final = 128


class UtcTime(TypeDecorator[datetime]):
    """An aware time, kept as a naive one in UTC, so that every database stores and compares it alike."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables under one prefix."""

    metadata: MetaData
    events: Table
    runs: Table
    tasks: Table
    quarantine: Table
    workers: Table
    audit: Table
    leases: Table
    version: str
    """The name of Alembic's own table."""


def make_tables(prefix: str = "") -> Tables:
    """The tables, with their names behind a prefix."""
    metadata = MetaData()
    return Tables(
        metadata=metadata,
        events=_events(metadata, prefix),
        runs=_runs(metadata, prefix),
        tasks=_tasks(metadata, prefix),
        quarantine=_quarantine(metadata, prefix),
        workers=_workers(metadata, prefix),
        audit=_audit(metadata, prefix),
        leases=_leases(metadata, prefix),
        version=f"{prefix}webhook_schema_version",
    )


def _arrival() -> list[Column[Any]]:
    """What is kept of an HTTP arrival, accepted or quarantined."""
    return [
        Column("identity", LargeBinary(16), nullable=False),
        Column("tenant", String(ID_LENGTH), nullable=False, server_default=""),
        Column("path", Text, nullable=False),
        Column("query", Text, nullable=False),
        Column("headers", Text, nullable=False),
        Column("body", LargeBinary),
        Column("received_at", UtcTime, nullable=False),
    ]


def _events(metadata: MetaData, prefix: str) -> Table:
    table = Table(
        f"{prefix}webhook_events",
        metadata,
        Column("id", _Number, primary_key=True),
        Column("task_id", String(ID_LENGTH)),
        Column("event_type", String(NAME_LENGTH), nullable=False),
        Column("step", String(ID_LENGTH)),
        Column("status", String(ID_LENGTH)),
        Column("progress_percent", Float),
        Column("timestamp", UtcTime),
        Column("data", Text),
        Column("error_message", Text),
        Column("name", String(NAME_LENGTH), nullable=False),
        Column("dialect", String(32), nullable=False),
        Column("source", String(16), nullable=False),
        Column("stage", String(ID_LENGTH)),
        Column("document_id", String(ID_LENGTH)),
        Column("correlation", Text),
        Column("task_key", LargeBinary(16)),
        *_arrival(),
        Column("state", String(16), nullable=False),
        Column("sequence", Integer),
        Column("hidden", Integer, nullable=False, server_default="0"),
        # Whether it told of something older than what was known of the task by then; null until it was numbered.
        Column("is_late", Boolean),
        # The record that told the same before, for which the handlers ran (0: none in particular): progress/telling.py.
        Column("belongs_to", _Number),
        UniqueConstraint("identity", name=f"uq_{prefix}webhook_events_identity"),
    )
    # The engine walks the records that wait in the order of their ids; a random key here would double the cost of
    # storing an event (docs/ARCHITECTURE.md has the figures).
    _partial(f"ix_{prefix}webhook_events_stored", table.c.id, where="state = 'stored'")
    _partial(f"ix_{prefix}webhook_events_troubled", table.c.state, table.c.id, where="state IN ('retrying', 'failed')")
    # Filled when the engine numbers the events of a task, and not when they are acknowledged.
    _partial(f"ix_{prefix}webhook_events_task", table.c.task_key, table.c.sequence, where="sequence IS NOT NULL")
    return table


def _runs(metadata: MetaData, prefix: str) -> Table:
    table = Table(
        f"{prefix}webhook_handler_runs",
        metadata,
        Column("id", _Number, primary_key=True),
        Column("record_id", _Number, nullable=False),
        Column("handler", String(ID_LENGTH), nullable=False),
        Column("state", String(16), nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("error", Text),
        Column("traceback", Text),
        Column("started_at", UtcTime),
        Column("finished_at", UtcTime),
        # When it is to be tried again, and when that was decided: seconds since 1970 by the database's clock.
        Column("next_attempt_at", Float),
        Column("scheduled_at", Float),
        UniqueConstraint("record_id", "handler", name=f"uq_{prefix}webhook_handler_runs_record_handler"),
    )
    _partial(f"ix_{prefix}webhook_handler_runs_due", table.c.next_attempt_at, where="next_attempt_at IS NOT NULL")
    _partial(f"ix_{prefix}webhook_handler_runs_dead", table.c.id, where="state = 'failed'")
    _partial(f"ix_{prefix}webhook_handler_runs_orphaned", table.c.handler, where="state = 'orphaned'")
    return table


def _tasks(metadata: MetaData, prefix: str) -> Table:
    table = Table(
        f"{prefix}webhook_tasks",
        metadata,
        Column("key", LargeBinary(16), primary_key=True),
        Column("tenant", String(ID_LENGTH), nullable=False, server_default=""),
        Column("task_id", String(ID_LENGTH)),
        # Set for the lane of a single record that belongs to no task; such a row goes when the record is settled.
        Column("record_id", _Number),
        Column("owner", String(64)),
        Column("epoch", Integer, nullable=False),
        Column("sequence", Integer, nullable=False),
        # By which tasks are listed, the newest first.
        Column("first_record_id", _Number),
        *_progress(),
        # How many workers in succession died while they held it; 0 once it was given back in order.
        Column("deaths", Integer, nullable=False, server_default="0"),
        # Which record told of what, by the names of task.*, as a JSON object; null from before this was written down.
        Column("told", Text),
    )
    _partial(f"ix_{prefix}webhook_tasks_first", table.c.first_record_id, where="first_record_id IS NOT NULL")
    _partial(f"ix_{prefix}webhook_tasks_owner", table.c.owner, where="owner IS NOT NULL")
    listed = "first_record_id IS NOT NULL"
    _partial(f"ix_{prefix}webhook_tasks_state", table.c.state, table.c.first_record_id, where=listed)
    _partial(
        f"ix_{prefix}webhook_tasks_document",
        table.c.document_id,
        table.c.first_record_id,
        where="document_id IS NOT NULL",
    )
    return table


def _progress() -> list[Column[Any]]:
    """What is known of a task after its events so far."""
    return [
        Column("late", Integer),
        Column("document_id", String(ID_LENGTH)),
        Column("state", String(16)),
        Column("name", String(NAME_LENGTH)),
        Column("step", String(ID_LENGTH)),
        Column("stage", String(ID_LENGTH)),
        Column("progress", Float),
        Column("message", Text),
        Column("error", Text),
        Column("error_code", String(ID_LENGTH)),
        Column("started_at", UtcTime),
        Column("finished_at", UtcTime),
        Column("updated_at", UtcTime),
        Column("steps", Text),
        Column("correlation", Text),
    ]


def _quarantine(metadata: MetaData, prefix: str) -> Table:
    return Table(
        f"{prefix}webhook_quarantine",
        metadata,
        Column("id", _Number, primary_key=True),
        Column("status", Integer, nullable=False),
        Column("code", String(64), nullable=False),
        Column("problems", Text, nullable=False),
        Column("repeats", Integer, nullable=False, server_default="0"),
        *_arrival(),
        Column("correlation", Text),
        UniqueConstraint("identity", name=f"uq_{prefix}webhook_quarantine_identity"),
    )


def _workers(metadata: MetaData, prefix: str) -> Table:
    return Table(
        f"{prefix}webhook_workers",
        metadata,
        Column("id", String(64), primary_key=True),
        Column("hostname", String(ID_LENGTH), nullable=False),
        Column("pid", Integer, nullable=False),
        # Seconds since 1970 by the database's clock, the only one that all workers share.
        Column("heartbeat_at", Float, nullable=False),
        # For how many seconds a heartbeat is good; each worker says its own.
        Column("lease", Float),
    )


def _audit(metadata: MetaData, prefix: str) -> Table:
    return Table(
        f"{prefix}webhook_audit",
        metadata,
        Column("id", _Number, primary_key=True),
        Column("at", UtcTime, nullable=False),
        Column("action", String(64), nullable=False),
        Column("who", String(ID_LENGTH), nullable=False),
        Column("why", Text),
        # What was asked for, as a JSON object, and how many records it applied to.
        Column("criteria", Text, nullable=False),
        Column("affected", Integer, nullable=False),
    )


def _leases(metadata: MetaData, prefix: str) -> Table:
    return Table(
        f"{prefix}webhook_leases",
        metadata,
        # What one process does at a time, who does it and until when; times are seconds since 1970 by the database's
        # clock. `done_at` is when it was last done to the end, `since` when it was first begun.
        Column("name", String(64), primary_key=True),
        Column("owner", String(64)),
        Column("until", Float, nullable=False),
        Column("done_at", Float),
        Column("since", Float, nullable=False),
    )


def _partial(name: str, *columns: Column[Any], where: str) -> None:
    Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))
