"""The inbox: events, handler runs, tasks, quarantine, workers."""

from typing import Any

import sqlalchemy as sa
from alembic import context, op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    prefix = context.config.attributes["prefix"]
    _create_events(prefix)
    _create_runs(prefix)
    _create_tasks(prefix)
    _create_quarantine(prefix)
    _create_workers(prefix)


def _arrival() -> list[sa.Column[Any]]:
    return [
        sa.Column("identity", sa.LargeBinary(16), nullable=False),
        sa.Column("tenant", sa.String(255), nullable=False, server_default=""),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column("headers", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary()),
        sa.Column("received_at", sa.DateTime(), nullable=False),
    ]


def _create_events(prefix: str) -> None:
    name = f"{prefix}webhook_events"
    op.create_table(
        name,
        sa.Column("id", _number, primary_key=True),
        sa.Column("task_id", sa.String(255)),
        sa.Column("event_type", sa.String(128), nullable=False),
        sa.Column("step", sa.String(255)),
        sa.Column("status", sa.String(255)),
        sa.Column("progress_percent", sa.Float()),
        sa.Column("timestamp", sa.DateTime()),
        sa.Column("data", sa.Text()),
        sa.Column("error_message", sa.Text()),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("dialect", sa.String(32), nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("stage", sa.String(255)),
        sa.Column("document_id", sa.String(255)),
        sa.Column("correlation", sa.Text()),
        sa.Column("task_key", sa.LargeBinary(16)),
        *_arrival(),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("sequence", sa.Integer()),
        sa.Column("hidden", sa.Integer(), nullable=False, server_default="0"),
        sa.UniqueConstraint("identity", name=f"uq_{name}_identity"),
    )
    waiting = sa.text("state = 'stored'")
    op.create_index(f"ix_{name}_stored", name, ["id"], sqlite_where=waiting, postgresql_where=waiting)


def _create_runs(prefix: str) -> None:
    name = f"{prefix}webhook_handler_runs"
    op.create_table(
        name,
        sa.Column("id", _number, primary_key=True),
        sa.Column("record_id", _number, nullable=False),
        sa.Column("handler", sa.String(255), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("traceback", sa.Text()),
        sa.Column("started_at", sa.DateTime()),
        sa.Column("finished_at", sa.DateTime()),
        sa.UniqueConstraint("record_id", "handler", name=f"uq_{name}_record_handler"),
    )


def _create_tasks(prefix: str) -> None:
    op.create_table(
        f"{prefix}webhook_tasks",
        sa.Column("key", sa.LargeBinary(16), primary_key=True),
        sa.Column("tenant", sa.String(255), nullable=False, server_default=""),
        sa.Column("task_id", sa.String(255)),
        sa.Column("record_id", _number),
        sa.Column("owner", sa.String(64)),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
    )


def _create_quarantine(prefix: str) -> None:
    name = f"{prefix}webhook_quarantine"
    op.create_table(
        name,
        sa.Column("id", _number, primary_key=True),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("code", sa.String(64), nullable=False),
        sa.Column("problems", sa.Text(), nullable=False),
        sa.Column("repeats", sa.Integer(), nullable=False, server_default="0"),
        *_arrival(),
        sa.UniqueConstraint("identity", name=f"uq_{name}_identity"),
    )


def _create_workers(prefix: str) -> None:
    op.create_table(
        f"{prefix}webhook_workers",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("hostname", sa.String(255), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("heartbeat_at", sa.Float(), nullable=False),
    )
