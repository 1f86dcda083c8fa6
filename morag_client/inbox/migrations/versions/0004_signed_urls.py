"""Signed URLs: what is in quarantine keeps the ids that its URL carried."""

import sqlalchemy as sa
from alembic import context, op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    prefix = context.config.attributes["prefix"]
    op.add_column(f"{prefix}webhook_quarantine", sa.Column("correlation", sa.Text()))
