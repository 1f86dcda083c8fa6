"""Durable processing: attempts to come, the state of tasks, and who asked for what."""

import sqlalchemy as sa
from alembic import context, op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    prefix = context.config.attributes["prefix"]
    _extend_events(f"{prefix}webhook_events")
    _extend_runs(f"{prefix}webhook_handler_runs")
    _extend_tasks(f"{prefix}webhook_tasks")
    _create_audit(f"{prefix}webhook_audit")


def _extend_events(name: str) -> None:
    op.add_column(name, sa.Column("is_late", sa.Boolean()))
    _partial(f"ix_{name}_troubled", name, ["state", "id"], where="state IN ('retrying', 'failed')")
    _partial(f"ix_{name}_task", name, ["task_key", "sequence"], where="sequence IS NOT NULL")


def _extend_runs(name: str) -> None:
    op.add_column(name, sa.Column("next_attempt_at", sa.Float()))
    op.add_column(name, sa.Column("scheduled_at", sa.Float()))
    _partial(f"ix_{name}_due", name, ["next_attempt_at"], where="next_attempt_at IS NOT NULL")
    _partial(f"ix_{name}_dead", name, ["id"], where="state = 'failed'")


def _extend_tasks(name: str) -> None:
    for column in (
        sa.Column("first_record_id", _number),
        sa.Column("late", sa.Integer()),
        sa.Column("document_id", sa.String(255)),
        sa.Column("state", sa.String(16)),
        sa.Column("name", sa.String(128)),
        sa.Column("step", sa.String(255)),
        sa.Column("stage", sa.String(255)),
        sa.Column("progress", sa.Float()),
        sa.Column("message", sa.Text()),
        sa.Column("error", sa.Text()),
        sa.Column("error_code", sa.String(255)),
        sa.Column("started_at", sa.DateTime()),
        sa.Column("finished_at", sa.DateTime()),
        sa.Column("updated_at", sa.DateTime()),
        sa.Column("steps", sa.Text()),
        sa.Column("correlation", sa.Text()),
    ):
        op.add_column(name, column)
    _partial(f"ix_{name}_first", name, ["first_record_id"], where="first_record_id IS NOT NULL")
    _partial(f"ix_{name}_owner", name, ["owner"], where="owner IS NOT NULL")


def _create_audit(name: str) -> None:
    op.create_table(
        name,
        sa.Column("id", _number, primary_key=True),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("who", sa.String(255), nullable=False),
        sa.Column("why", sa.Text()),
        sa.Column("criteria", sa.Text(), nullable=False),
        sa.Column("affected", sa.Integer(), nullable=False),
    )


def _partial(name: str, table: str, columns: list[str], *, where: str) -> None:
    op.create_index(name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
