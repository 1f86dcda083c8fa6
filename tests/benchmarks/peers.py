"""The servers that are held against each other: how each is started, what it stores, and what ratio is asked for."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from databases import Database

_BIN = Path(sys.executable).parent
_HERE = Path(__file__).resolve().parent
_FOLDER = _HERE / "kit" / "peers"
# The one that kit/make_bodies.py signs with.
SECRET = "whsec_perf_0123456789abcdef"

STORES = {
    "sqlite": "SQLite, WAL, synchronous=FULL; deliveries that arrive together share a commit",
    "postgres": "PostgreSQL, synchronous_commit=on; deliveries that arrive together share a commit",
}


def receiver(database: Database, *, handlers: bool = False) -> str:
    """The command of this package's server, storing only or with a trivial handler; {port} is left open."""
    path, target = (f"PYTHONPATH={_quoted(_HERE)} ", "trivial:receiver ") if handlers else ("", "")
    return (
        f"env MORAG_WEBHOOK_SECRET={SECRET} {path}{_quoted(_BIN / 'morag-client')} serve {target}"
        f"--port {{port}} --database-url {_quoted(database.url)} --no-access-log"
    )


def floor(_: Database | None = None) -> str:
    """The command of the server that every ratio is about: nothing in Python answers a webhook for much less."""
    return _uvicorn("floor:raw")


@dataclass(frozen=True, slots=True)
class Peer:
    """A server to be held against.

    `reach` is the least ratio receiver/peer that is asked for, `goal` the one that is hoped for; `p99_reach` and
    `p99_goal` are the most that the receiver's 99th percentile may be of the peer's.
    """

    name: str
    command: Callable[[Database], str]
    database: str
    stores: str = "nothing"
    table: str | None = None
    reach: float | None = None
    goal: float | None = None
    p99_reach: float | None = None
    p99_goal: float | None = None


def _starlette(_: Database) -> str:
    return _uvicorn("floor:starlette_typed")


def _flask(database: Database) -> str:
    # One worker, as everywhere here. How many threads makes no difference that can be measured: SQLite has one writer.
    return (
        f"env DB_URL={_quoted(database.url)} {_quoted(_BIN / 'gunicorn')} --bind 127.0.0.1:{{port}} --workers 1"
        f" --worker-class gthread --threads 4 --log-level warning --pythonpath {_quoted(_FOLDER)} flask_guide:app"
    )


def _fastapi(database: Database) -> str:
    return f"env DB_URL={_quoted(database.async_url)} {_uvicorn('fastapi_naive:app')}"


def _uvicorn(application: str) -> str:
    return (
        f"{_quoted(_BIN / 'uvicorn')} --port {{port}} --loop uvloop --http httptools --no-access-log"
        f" --log-level warning --app-dir {_quoted(_FOLDER)} {application}"
    )


def _quoted(text: Path | str) -> str:
    """For a command in which the runner fills in {port}."""
    return shlex.quote(str(text)).replace("{", "{{").replace("}", "}}")


PEERS = (
    Peer("floor: raw ASGI, HMAC, JSON", floor, "sqlite", reach=0.45, goal=0.60, p99_reach=4, p99_goal=2),
    Peer("Starlette + pydantic", _starlette, "sqlite"),
    Peer(
        "Flask + SQLAlchemy (the guide's)",
        _flask,
        "sqlite",
        stores="SQLite, rollback journal, synchronous=FULL, a commit each",
        table="webhook_events",
        reach=25,
        goal=30,
    ),
    Peer(
        "FastAPI + async SQLAlchemy",
        _fastapi,
        "sqlite",
        stores="SQLite, WAL, synchronous=FULL, a commit each",
        table="naive_events",
        reach=15,
        goal=20,
    ),
    Peer("PostgreSQL: floor", floor, "postgres", reach=0.50, goal=0.65, p99_reach=4, p99_goal=2),
    Peer(
        "PostgreSQL: FastAPI + async SQLAlchemy",
        _fastapi,
        "postgres",
        stores="PostgreSQL, synchronous_commit=on, a commit each",
        table="naive_events",
        reach=15,
        goal=20,
    ),
)
NOISE = tuple(
    Peer(name, receiver, database, stores=STORES[database], table="webhook_events")
    for name, database in (("this receiver (noise)", "sqlite"), ("PostgreSQL: this receiver (noise)", "postgres"))
)
