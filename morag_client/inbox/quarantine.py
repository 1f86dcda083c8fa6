"""What was authentic and could not be understood: kept, once, until somebody acts."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from morag_client.inbox.database import Database
from morag_client.inbox.rows import QuarantineRow


def keep(connection: Connection, *, database: Database, row: QuarantineRow) -> None:
    """Keeps a delivery; one that is there already is counted."""
    table = database.tables.quarantine
    statement = database.insert(table).values(row._asdict())
    connection.execute(
        statement.on_conflict_do_update(index_elements=[table.c.identity], set_={"repeats": table.c.repeats + 1})
    )
