"""The database's clock: the only one that all workers share."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Float, func, literal_column

from morag_client.inbox.database import Database


def database_clock(database: Database) -> ColumnElement[float]:
    """Seconds since 1970, as an expression."""
    if database.is_sqlite:
        return literal_column("(julianday('now') - 2440587.5) * 86400.0", Float)
    # Not clock_timestamp(), which may be another at each row, so that no index can be asked for what is before it.
    return func.extract("epoch", func.statement_timestamp()).cast(Float)
