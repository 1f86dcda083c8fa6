"""Events that are made of what MoRAG answered: what told first, and who is asking."""

import sqlalchemy as sa
from alembic import context, op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    prefix = context.config.attributes["prefix"]
    op.add_column(f"{prefix}webhook_events", sa.Column("belongs_to", _number))
    op.add_column(f"{prefix}webhook_tasks", sa.Column("told", sa.Text()))
    op.create_table(
        f"{prefix}webhook_leases",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("owner", sa.String(64)),
        sa.Column("until", sa.Float(), nullable=False),
        sa.Column("done_at", sa.Float()),
        sa.Column("since", sa.Float(), nullable=False),
    )
