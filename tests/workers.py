"""One of several workers on an inbox, as the engine uses it, and a projection that only counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import deliveries
import inboxes

from morag_client.inbox.inbox import Inbox
from morag_client.inbox.lanes import Claimable, Grant, Outcome, Projection, RunRow, Settlement
from morag_client.inbox.ownership import Ownership
from morag_client.inbox.queries import Queries

LEASE = 30.0
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def run(handler: str = "index", state: str = "succeeded", *, attempts: int = 1, delay: float | None = None) -> RunRow:
    return RunRow(handler, state, attempts, None, None, MOMENT, MOMENT, delay)


def count(columns: Mapping[str, Any], record_ids: Sequence[int]) -> Projection:
    """Numbers a task's events and keeps their ids as its message; each with an even id is late."""
    values, events = dict(columns), []
    for record_id in record_ids:
        values["sequence"] += 1
        values["message"] = f"{values['message'] or ''}{record_id};"
        events.append((values["sequence"], record_id % 2 == 0, values["message"]))
    return Projection(values, events, values["message"])


class Worker:
    """A worker with a name, alive by its heartbeat."""

    def __init__(self, inbox: Inbox, name: str, *, lease: float = LEASE) -> None:
        self.inbox = inbox
        self.name = name
        self.ownership = Ownership(inbox.database, worker_id=name, lease=lease)

    async def beat(self) -> None:
        await self.ownership.beat(hostname="here", pid=1)

    async def shift(self, seconds: float) -> None:
        """Lets its last heartbeat be that much later, or earlier, by the database's clock."""
        table = self.inbox.database.tables.workers.name
        await inboxes.run_sql(
            self.inbox,
            f"UPDATE {table} SET heartbeat_at = heartbeat_at + {seconds} WHERE id = '{self.name}'",  # noqa: S608
        )

    async def turn(
        self, *, settle: Sequence[Settlement] = (), release: Sequence[bytes] = (), claim: Sequence[Claimable] = ()
    ) -> tuple[set[tuple[bytes, int]], list[Grant]]:
        return await self.ownership.turn(settle=settle, release=release, claim=claim, project=count)

    async def claim(self, *record_ids: int) -> dict[bytes, Grant]:
        _, grants = await self.turn(claim=await claimables(self.inbox, *record_ids))
        return {grant.lane: grant for grant in grants}

    async def claim_one(self, record_id: int) -> Grant | None:
        return next(iter((await self.claim(record_id)).values()), None)

    async def settle(
        self, grant: Grant, record_id: int, *runs: RunRow, outcome: Outcome = "handled", release: bool = True
    ) -> set[tuple[bytes, int]]:
        settlement = Settlement(record_id, grant.lane, grant.epoch, outcome, runs)
        lost, _ = await self.turn(settle=[settlement], release=[grant.lane] if release else [])
        return lost


def sequences(grant: Grant) -> dict[int, int | None]:
    return {granted.record_id: granted.sequence for granted in grant.records}


async def claimables(inbox: Inbox, *record_ids: int) -> list[Claimable]:
    found = await Queries(inbox).load(record_ids)
    return [Claimable(one.id, one.task_key, one.task_id, one.tenant) for one in found]


async def stored(inbox: Inbox, *task_ids: str | None) -> list[int]:
    """The ids of new records of these tasks, None for one that belongs to no task."""
    bodies = [deliveries.unknown_body() if task is None else deliveries.task_body(task) for task in task_ids]
    return [(await inboxes.record(inbox, body)).record_id for body in bodies]


async def settled(inbox: Inbox, record_id: int, outcome: Outcome, *runs: RunRow) -> None:
    """Lets the runs of a record have ended like this."""
    worker = Worker(inbox, "somebody")
    grant = await worker.claim_one(record_id)
    assert grant is not None
    assert await worker.settle(grant, record_id, *runs, outcome=outcome) == set()
