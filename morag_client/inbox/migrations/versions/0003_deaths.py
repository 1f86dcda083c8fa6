"""Runs whose handlers are gone, lanes whose workers died, and the lease of each worker."""

import sqlalchemy as sa
from alembic import context, op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    prefix = context.config.attributes["prefix"]
    runs = f"{prefix}webhook_handler_runs"
    gone = sa.text("state = 'orphaned'")
    op.create_index(f"ix_{runs}_orphaned", runs, ["handler"], sqlite_where=gone, postgresql_where=gone)
    op.add_column(f"{prefix}webhook_tasks", sa.Column("deaths", sa.Integer(), nullable=False, server_default="0"))
    op.add_column(f"{prefix}webhook_workers", sa.Column("lease", sa.Float()))
