"""The servers that are held against each other: how each is started, what it stores, and what ratio is asked for."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

_BIN = Path(sys.executable).parent
_FOLDER = Path(__file__).resolve().with_name("kit") / "peers"


def _quoted(path: Path) -> str:
    """For a command in which the runner fills in {port} and {db}."""
    return shlex.quote(str(path)).replace("{", "{{").replace("}", "}}")


def _uvicorn(application: str) -> str:
    return (
        f"{_quoted(_BIN / 'uvicorn')} --port {{port}} --loop uvloop --http httptools --no-access-log"
        f" --log-level warning --app-dir {_quoted(_FOLDER)} {application}"
    )


def _gunicorn(application: str) -> str:
    # One worker, as everywhere here. How many threads makes no difference that can be measured: SQLite has one writer.
    return (
        f"{_quoted(_BIN / 'gunicorn')} --bind 127.0.0.1:{{port}} --workers 1 --worker-class gthread --threads 4"
        f" --log-level warning --pythonpath {_quoted(_FOLDER)} {application}"
    )


# The secret is the one that kit/make_bodies.py signs with.
RECEIVER = (
    f"env MORAG_WEBHOOK_SECRET=whsec_perf_0123456789abcdef {_quoted(_BIN / 'morag-client')} serve --port {{port}}"
    " --database-url sqlite:///{db} --no-access-log"
)
RECEIVER_STORES = "SQLite, WAL, synchronous=FULL; deliveries that arrive together share a commit"


@dataclass(frozen=True, slots=True)
class Peer:
    """A server to be held against; `reach` is the least ratio receiver/peer that is asked for, if any."""

    name: str
    command: str
    stores: str
    table: str | None = None
    reach: float | None = None


PEERS = (
    Peer("floor: raw ASGI, HMAC, JSON", _uvicorn("floor:raw"), "nothing", reach=0.35),
    Peer("Starlette + pydantic", _uvicorn("floor:starlette_typed"), "nothing"),
    Peer(
        "Flask + SQLAlchemy (the guide's)",
        f"env DB_URL=sqlite:///{{db}} {_gunicorn('flask_guide:app')}",
        "SQLite, rollback journal, synchronous=FULL, a commit each",
        table="webhook_events",
        reach=18,
    ),
    Peer(
        "FastAPI + async SQLAlchemy",
        f"env DB_URL=sqlite+aiosqlite:///{{db}} {_uvicorn('fastapi_naive:app')}",
        "SQLite, WAL, synchronous=FULL, a commit each",
        table="naive_events",
    ),
)
NOISE = Peer("this receiver (noise)", RECEIVER, RECEIVER_STORES, table="webhook_events")
