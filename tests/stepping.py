"""A worker that does what the engine does, each step when it is asked to, and what is stored between the steps."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import inboxes
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncSession

from morag_client import Context, Discard, Event, Receiver, Registry, RetryLater, RetryPolicy
from morag_client.handlers.dispatch import Dispatcher
from morag_client.handlers.threads import HandlerThreads
from morag_client.inbox.inbox import Inbox
from morag_client.inbox.lanes import RunRow, Settlement
from morag_client.inbox.ownership import Ownership
from morag_client.inbox.queries import Queries
from morag_client.inbox.rows import now
from morag_client.inbox.sessions import Sessions
from morag_client.processing.calling import Caller
from morag_client.processing.lanes import _outcome
from morag_client.processing.projecting import Projecting
from morag_client.processing.running import Runner
from morag_client.processing.work import Turn, Work, work_of

LEASE = 30.0
ATTEMPTS = 2
POLICY = RetryPolicy(attempts=ATTEMPTS, first=60, cap=600)
"""With `random` always 1: nothing becomes due by itself while a test runs."""
EFFECTS = "CREATE TABLE effects (record_id INTEGER NOT NULL)"
OPEN = ("retrying", "stuck", "running", "died")
"""States of runs that have a time."""
WAITING = (*OPEN, "orphaned")

Key = tuple[int, str]
"""A run: its record's id and its handler's name."""


class Call(NamedTuple):
    record_id: int
    handler: str
    attempt: int


@dataclass
class Script:
    """What handlers do, by their names, and what they were called for; `succeed` where nothing is said."""

    outcomes: dict[str, str] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)

    async def arrive(self, handler: str, context: Context) -> str:
        """How the handler is to end; it may wait for that to be known."""
        return self.outcomes.get(handler, "succeed")

    def play(self, handler: str, context: Context, how: str) -> None:
        self.calls.append(Call(context.record_id, handler, context.attempt))
        match how:
            case "fail":
                raise ConnectionError("nobody there")
            case "later":
                raise RetryLater(after=100)
            case "discard":
                raise Discard("not for us")

    def registry(self, *names: str) -> Registry:
        """Handlers of these names; `money` has a transaction, in which it notes the record."""
        registry = Registry()
        for name in names:
            registry.on("*", name=name)(self._money() if name == "money" else self._plain(name))
        return registry

    def _plain(self, name: str) -> Any:
        async def handle(event: Event, context: Context) -> None:
            self.play(name, context, await self.arrive(name, context))

        return handle

    def _money(self) -> Any:
        async def handle(event: Event, context: Context, session: AsyncSession) -> None:
            how = await self.arrive("money", context)
            await session.execute(text("INSERT INTO effects VALUES (:id)"), {"id": context.record_id})
            self.play("money", context, how)

        return handle


@dataclass
class Lane:
    epoch: int
    queue: deque[Turn] = field(default_factory=deque)
    unsettled: int = 0


class Worker:
    """One worker of several. `has_lapsed` once its lease may have ended without its knowing."""

    def __init__(self, inbox: Inbox, name: str, script: Script, handlers: Sequence[str]) -> None:
        self.name = name
        self.script = script
        self.has_lapsed = False
        self.lanes: dict[bytes, Lane] = {}
        self.finished: list[Settlement] = []
        self.in_hand: set[int] = set()
        self._seen: list[Work] = []
        self._inbox = inbox
        self._queries = Queries(inbox)
        self._ownership = Ownership(inbox.database, worker_id=name, lease=LEASE)
        self._projecting = Projecting()
        self._runner = Runner(
            dispatcher=Dispatcher(script.registry(*handlers), receiver_type=Receiver),
            caller=Caller(
                threads=HandlerThreads(size=1),
                sessions=Sessions(inbox.database, self._ownership.settling),
                timeout=None,
            ),
            attempts=self._ownership,
            receiver=None,
            retry=POLICY,
            clock=now,
            random=lambda: 1.0,
        )

    @property
    def ready(self) -> list[bytes]:
        """The lanes in which there is something to handle."""
        return sorted(key for key, lane in self.lanes.items() if lane.queue)

    async def beat(self) -> None:
        await self._ownership.beat(hostname="here", pid=1)

    async def lapse(self) -> None:
        """Lets its lease have ended; it goes on as if nothing were."""
        self.has_lapsed = True
        earlier = f"UPDATE webhook_workers SET heartbeat_at = heartbeat_at - 1000 WHERE id = '{self.name}'"  # noqa: S608
        await inboxes.run_sql(self._inbox, earlier)

    async def look(self) -> None:
        """Reads what waits; it may be out of date when it is claimed."""
        ids = await self._queries.waiting_ids(after=0, limit=500) + await self._queries.due_ids(after=0, limit=500)
        wanted = [record_id for record_id in dict.fromkeys(ids) if record_id not in self.in_hand]
        self._seen = [work_of(record) for record in await self._queries.load(wanted)]

    async def turn(self, *, settle: int = 0, claim: bool = False) -> set[tuple[bytes, int]]:
        """Settles so many of its outcomes, gives back what is idle then, claims what it saw; the lanes it had lost."""
        settling, self.finished = self.finished[:settle], self.finished[settle:]
        works = {work.record_id: work for work in self._seen if claim and work.record_id not in self.in_hand}
        wanted = {work.claimable.lane for work in works.values()}
        release = [lane for lane in self._idle_after(settling) if lane not in wanted]
        lost, grants = await self._ownership.turn(
            settle=settling,
            release=release,
            claim=[work.claimable for work in works.values()],
            project=self._projecting.of(works),
            known=self._projecting.known(wanted),
        )
        self._projecting.keep(grants)
        if claim:
            self._seen = []
        self._settled(settling, lost)
        unused = []
        for grant in grants:
            lane = self.lanes.get(grant.lane)
            if grant.records and (lane is None or lane.epoch != grant.epoch):
                lane = self.lanes[grant.lane] = Lane(grant.epoch)
            if lane is None:
                unused.append(grant.lane)
                continue
            for granted in grant.records:
                lane.queue.append(Turn(works[granted.record_id], granted, grant.epoch, grant.deaths))
                lane.unsettled += 1
                self.in_hand.add(granted.record_id)
        if unused:
            await self._ownership.turn(settle=[], release=unused, claim=[], project=self._projecting.of({}))
        return lost

    async def run(self, place: int, outcomes: dict[str, str], *, sticks: bool = False) -> Turn:
        """Calls the handlers of the next record in one of its lanes, its outcome being left to a turn."""
        key = self.ready[place % len(self.ready)]
        turn = self.lanes[key].queue.popleft()
        self.script.outcomes = outcomes
        runs: list[RunRow] = []
        began = len(self.script.calls)
        orphaned = await self._runner.run(turn, runs.append)
        record_id = turn.work.record_id
        if sticks:  # as a plain function would be said to be, before it ended
            said = [call for call in self.script.calls[began:] if call.handler != "money"]
            stuck = [RunRow(one.handler, "stuck", one.attempt, "", None, now(), now(), 0.0) for one in said]
            self.finished += [Settlement(record_id, key, turn.epoch, "unfinished", [one]) for one in stuck]
        self.finished.append(Settlement(record_id, key, turn.epoch, _outcome(turn, runs), runs, orphaned))
        return turn

    async def adopt(self) -> None:
        await self._ownership.adopt(self._runner.handler_names)

    async def forget_the_dead(self) -> None:
        await self._ownership.forget_the_dead()

    async def leave(self) -> None:
        """Ends in an orderly way: what was handled is settled, the rest left to others."""
        while self.finished:
            await self.turn(settle=len(self.finished))
        await self._ownership.leave()

    def _idle_after(self, settling: Iterable[Settlement]) -> list[bytes]:
        left: defaultdict[bytes, int] = defaultdict(int)
        for one in settling:
            lane = self.lanes.get(one.lane)
            if lane is not None and lane.epoch == one.epoch and one.is_final:
                left[one.lane] += 1
        return [key for key, count in left.items() if count == self.lanes[key].unsettled]

    def _settled(self, settling: Iterable[Settlement], lost: set[tuple[bytes, int]]) -> None:
        for one in settling:
            lane = self.lanes.get(one.lane)
            is_ours = lane is not None and lane.epoch == one.epoch
            if one.is_final:
                self.in_hand.discard(one.record_id)
            if lane is None or not is_ours:
                continue
            lane.unsettled -= one.is_final
            if (one.lane, one.epoch) in lost:
                self.in_hand -= {turn.work.record_id for turn in lane.queue}
                del self.lanes[one.lane]
            elif lane.unsettled == 0:
                del self.lanes[one.lane]


class Stored(NamedTuple):
    """Everything that the invariants speak of: rows as mappings, by what they are found by."""

    events: dict[int, Any]
    runs: dict[Key, Any]
    tasks: dict[bytes, Any]
    effects: dict[int, int]
    """How often the money of a record was counted."""

    def runs_of(self, record_id: int) -> list[Any]:
        return [run for (of, _), run in self.runs.items() if of == record_id]

    def about(self, record_ids: Iterable[int]) -> list[Any]:
        return [
            (self.events[one].state, sorted(map(str, self.runs_of(one))), self.effects.get(one)) for one in record_ids
        ]


async def stored(inbox: Inbox) -> Stored:
    def read(connection: Connection) -> Stored:
        tables = inbox.database.tables
        events = {row.id: row for row in connection.execute(tables.events.select().order_by(tables.events.c.id))}
        runs = {(row.record_id, row.handler): row for row in connection.execute(tables.runs.select())}
        tasks = {row.key: row for row in connection.execute(tables.tasks.select())}
        effects = connection.exec_driver_sql("SELECT record_id, count(*) FROM effects GROUP BY 1")
        return Stored(events, runs, tasks, dict(map(tuple, effects)))

    if inbox.database.is_sqlite:  # through the thread that writes, which is quicker
        return await inbox.database.write(read)
    async with inbox.database.engine.connect() as connection:
        # All of one moment: workers may be going on meanwhile.
        await connection.execution_options(isolation_level="REPEATABLE READ")
        return await connection.run_sync(read)


async def empty(inbox: Inbox) -> None:
    """Forgets everything but the tables."""
    tables = inbox.database.tables
    names = [table.name for table in tables.metadata.sorted_tables] + ["effects"]
    if inbox.database.is_sqlite:
        await inboxes.run_sql(inbox, *(f"DELETE FROM {name}" for name in names))  # noqa: S608
    else:
        await inboxes.run_sql(inbox, f"TRUNCATE {', '.join(names)} RESTART IDENTITY")
