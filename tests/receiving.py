"""A receiver at work without a socket: deliveries in, handlers run, records out."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import deliveries

from morag_client import Receiver, Registry, RetryPolicy


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder}/inbox.db"


def receiver_of(folder: Path, registry: Registry | None = None, **settings: Any) -> Receiver:
    """A receiver with a file in this folder, the secret of `deliveries` and one attempt, unless told otherwise."""
    once = RetryPolicy(attempts=1)
    given = {"secrets": deliveries.SECRET, "database_url": url_of(folder), "retry": once, **settings}
    return Receiver(registry=registry or Registry(), **given)


@contextlib.asynccontextmanager
async def working(folder: Path, registry: Registry | None = None, **settings: Any) -> AsyncIterator[Receiver]:
    receiver = receiver_of(folder, registry, **settings)
    async with receiver.lifespan():
        yield receiver


async def send(receiver: Receiver, *bodies: bytes) -> list[int]:
    """The record of each body, sent one after the other."""
    return [(await receiver.receive(deliveries.delivery(body))).record_id for body in bodies]


async def send_at_once(receiver: Receiver, *bodies: bytes) -> list[int]:
    receipts = await asyncio.gather(*(receiver.receive(deliveries.delivery(body)) for body in bodies))
    return [receipt.record_id for receipt in receipts]


async def runs_of(receiver: Receiver, record_id: int) -> dict[str, str]:
    """How each handler's run of a record ended, by the handler's name."""
    return {run.handler: run.state for run in (await receiver.events.get(record_id)).runs}


async def until(holds: Callable[[], Any], *, seconds: float = 10.0) -> None:
    """Waits until something holds; fails after so long."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold in time"
        await asyncio.sleep(0.005)


def eventually(holds: Callable[[], Any], *, seconds: float = 10.0) -> Any:
    """What `holds` returns once that is true; for code outside of an event loop."""
    deadline = time.monotonic() + seconds
    while not (result := holds()):
        assert time.monotonic() < deadline, "it did not come to hold in time"
        time.sleep(0.01)
    return result


def query(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    """What another process sees in the folder's inbox; nothing while that is not made yet."""
    with contextlib.closing(sqlite3.connect(folder / "inbox.db", timeout=5)) as connection:
        try:
            return connection.execute(sql).fetchall()
        except sqlite3.OperationalError as error:
            if str(error).startswith("no such table"):
                return []
            raise


def counts(folder: Path) -> tuple[int, int]:
    """How many records there are, and how many quarantined deliveries."""
    return tuple(query(folder, f"SELECT count(*) FROM webhook_{table}")[0][0] for table in ("events", "quarantine"))  # noqa: S608
