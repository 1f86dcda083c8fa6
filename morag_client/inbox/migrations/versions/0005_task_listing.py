"""Tasks by state and by document, each in the order of their first events."""

import sqlalchemy as sa
from alembic import context, op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    tasks = f"{context.config.attributes['prefix']}webhook_tasks"
    _partial(f"ix_{tasks}_state", tasks, ["state", "first_record_id"], where="first_record_id IS NOT NULL")
    _partial(f"ix_{tasks}_document", tasks, ["document_id", "first_record_id"], where="document_id IS NOT NULL")


def _partial(name: str, table: str, columns: list[str], *, where: str) -> None:
    op.create_index(name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
