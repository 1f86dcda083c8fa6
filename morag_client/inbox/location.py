"""Which database is meant, and with which driver."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
import warnings
import weakref
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from morag_client.errors import ConfigurationError, MoragWarning


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Location:
    """Where a database is. A temporary one is removed once nobody knows this, at the latest at the process's end."""

    url: URL

    @property
    def is_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    @property
    def shown(self) -> str:
        """The URL as one would write it, without any password."""
        return self.url.set(drivername=self.url.get_backend_name()).render_as_string(hide_password=True)


def locate(given: str | None) -> Location:
    """The database that is meant, with the driver that we use; without one a private temporary SQLite file.

    Raises ConfigurationError for what cannot be used.
    """
    if given is None:
        return _temporary()
    try:
        url = make_url(_spelt_out(given))
    except (ArgumentError, ValueError):
        raise ConfigurationError(
            "the database URL cannot be read; expected sqlite:///relative.db, sqlite:////absolute.db or"
            " postgresql://user@host/database"
        ) from None
    backend = url.get_backend_name()
    if backend == "sqlite":
        return _file(url)
    if backend == "postgresql":
        return _server(url)
    raise ConfigurationError(f"no inbox can be kept in {backend}; expected sqlite:///file.db or postgresql://…")


def _spelt_out(given: str) -> str:
    # Hosting platforms write it the short way, which SQLAlchemy does not know.
    return f"postgresql://{given.removeprefix('postgres://')}" if given.startswith("postgres://") else given


def _file(url: URL) -> Location:
    if not url.database or url.database == ":memory:" or "memory" in str(url.query.get("mode", "")):
        raise ConfigurationError(
            "a SQLite database in memory loses what it was given, and one connection would share its transactions"
            " with another; give a file: sqlite:///morag.db"
        )
    path = Path(url.database).expanduser().absolute()
    if not path.parent.is_dir():
        raise ConfigurationError(f"the folder of the database does not exist: {path.parent}; create it first")
    return Location(url.set(drivername="sqlite+aiosqlite", database=str(path)))


def _server(url: URL) -> Location:
    if importlib.util.find_spec("asyncpg") is None:
        raise ConfigurationError("PostgreSQL needs the package asyncpg: pip install 'morag-client[postgres]'")
    if not url.database:
        raise ConfigurationError("the database URL names no database; expected postgresql://user@host/database")
    from morag_client.inbox.postgres_connections import connection_arguments  # noqa: PLC0415  # its driver is an extra

    url = url.set(drivername="postgresql+asyncpg")
    connection_arguments(url)  # which refuses what cannot be
    return Location(url)


def _temporary() -> Location:
    folder = tempfile.mkdtemp(prefix="morag-")
    warnings.warn(
        "no database is configured: what is received is kept in a temporary file and gone when this process ends;"
        " set database_url or MORAG_DATABASE_URL, for example sqlite:///morag.db",
        MoragWarning,
        stacklevel=4,
    )
    location = Location(URL.create("sqlite+aiosqlite", database=str(Path(folder) / "inbox.db")))
    # Not a TemporaryDirectory: that one warns where it is left to be removed in the end, which is just what is meant.
    weakref.finalize(location, _remove, folder, os.getpid())
    return location


def _remove(folder: str, owner: int) -> None:
    if os.getpid() == owner:  # a forked child has the finalizer too
        shutil.rmtree(folder, ignore_errors=True)
