"""Several real engines on one inbox, in whatever order handlers end, workers die and leases run out.

As in test_invariants.py, all that is stored is looked at; but nothing is done for the engine here. The machine draws
what happens around it: deliveries, when and how each handler ends, deaths at any moment, time.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import databases
import inboxes
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from invariants import Promises, World, body_of, draw, opened_world, succeeded
from stepping import LEASE, POLICY, Script, empty, stored

from morag_client import Context, Receiver
from morag_client.handlers.dispatch import Dispatcher
from morag_client.handlers.threads import HandlerThreads
from morag_client.inbox.inbox import Inbox
from morag_client.inbox.lanes import Claimable
from morag_client.inbox.ownership import Ownership
from morag_client.inbox.queries import Queries
from morag_client.inbox.replay_criteria import ReplayCriteria
from morag_client.inbox.replaying import replay
from morag_client.inbox.rows import now
from morag_client.inbox.sessions import Sessions
from morag_client.inbox.writer import Stored
from morag_client.processing.calling import Caller
from morag_client.processing.local_engine import LocalEngine
from morag_client.processing.running import Runner
from morag_client.processing.work import Work
from morag_client.wire.decoding import decode_object
from morag_client.wire.parsing import read_payload

EXAMPLES = {"sqlite": 12, "postgres": 4}
STEPS = 50
HANDLERS = ("index", "money")
NEVER = 3600.0

few = st.integers(0, 2)
many = st.integers(0, 30)
outcome = st.sampled_from(("succeed", "succeed", "fail", "later", "discard"))
statuses = st.sampled_from(("started", "progress", "completed", "failed", "cancelled", "chunking", "unknown"))
deliveries_of = st.tuples(few, statuses, st.integers(0, 100))
patience = st.sampled_from((None, None, 0, 1, 5, 20))
"""How often the event loop comes round before the next thing happens; None: until there is nothing left to do."""


class Gated(Caller):
    """Counts what has been called and has not ended."""

    calls = 0

    async def call(self, *given: Any, **named: Any) -> None:
        self.calls += 1
        try:
            await super().call(*given, **named)
        finally:
            self.calls -= 1


class Gates(Script):
    """Handlers of one engine, each of which waits until it is told how to end."""

    def __init__(self, tell: Callable[[Context], None]) -> None:
        super().__init__()
        self.waiting: list[asyncio.Future[str]] = []
        self.is_open = False
        self._tell = tell

    async def arrive(self, handler: str, context: Context) -> str:
        self._tell(context)
        if self.is_open:
            return "succeed"
        gate = asyncio.get_running_loop().create_future()
        self.waiting.append(gate)
        try:
            return await gate
        finally:
            if gate in self.waiting:
                self.waiting.remove(gate)


class Engine:
    """A worker with the real engine in it, as a receiver would have made it."""

    def __init__(self, inbox: Inbox, name: str, tell: Callable[[Engine, Context], None]) -> None:
        self.name = name
        self.has_lapsed = False
        self.gates = Gates(lambda context: tell(self, context))
        self._inbox = inbox
        self.ownership = Ownership(inbox.database, worker_id=name, lease=LEASE)
        sessions = Sessions(inbox.database, self.ownership.settling)
        sessions._slots = asyncio.Semaphore(1000)  # as many as wait at their gates, or it would not be known who waits
        self._caller = Gated(threads=HandlerThreads(size=1), sessions=sessions, timeout=None)
        runner = Runner(
            dispatcher=Dispatcher(self.gates.registry(*HANDLERS), receiver_type=Receiver),
            caller=self._caller,
            attempts=self.ownership,
            receiver=None,
            retry=POLICY,
            clock=now,
            random=lambda: 1.0,
        )
        self.engine = LocalEngine(
            queries=Queries(inbox), ownership=self.ownership, runner=runner, concurrency=1000, lease=LEASE, poll=NEVER
        )

    @property
    def is_quiet(self) -> bool:
        engine = self.engine
        is_waiting = not (engine._lanes.finished or engine._is_at_work or engine._unused)
        return is_waiting and engine._intake.is_idle and self._caller.calls == len(self.gates.waiting)

    async def lapse(self) -> None:
        self.has_lapsed = True
        earlier = f"UPDATE webhook_workers SET heartbeat_at = heartbeat_at - 1000 WHERE id = '{self.name}'"  # noqa: S608
        await inboxes.run_sql(self._inbox, earlier)

    async def die(self) -> None:
        """Ends wherever it is, without a word."""
        engine = self.engine
        tasks = [lane.running for lane in engine._lanes._lanes.values()] + [engine._working, engine._heart._beating]
        running = [task for task in tasks if task is not None]
        for task in running:
            task.cancel()
        await asyncio.wait(running)
        await self.end_what_was_lost()

    async def stop(self) -> None:
        await self.engine.stop(grace=0)
        await self.end_what_was_lost()

    async def end_what_was_lost(self) -> None:
        """Ends the handlers whose lanes another worker took over, which end with the process."""
        while self._caller.calls:
            for gate in self.gates.waiting:
                gate.cancel()
            await asyncio.sleep(0.001)


class Engines(Promises, RuleBasedStateMachine):
    def __init__(self, world: World) -> None:
        super().__init__()
        self.do = world.do
        self.inbox = world.inbox
        self.names = map("engine-{}".format, itertools.count())
        self.engines: list[Engine] = []
        self.trouble: list[str] = []
        self.begun: defaultdict[str | None, list[int]] = defaultdict(list)
        """The records of each task whose handlers were called, in this order."""
        self.begun_late: defaultdict[str | None, list[int]] = defaultdict(list)
        """The same, by engines that may have lost the task."""
        self.do(empty(self.inbox))
        self.now = self.before = self.do(stored(self.inbox))

    @initialize()
    def begin(self) -> None:
        self._hire()
        self._hire()

    @rule(what=st.lists(deliveries_of, min_size=1, max_size=5), which=few, wait=patience)
    def deliver(self, what: list[tuple[int, str, int]], which: int, wait: int | None) -> None:
        bodies = [body_of(*one) for one in what]
        engine = self._engine(which)

        async def deliver() -> list[Stored]:
            return await asyncio.gather(*(self._receive(engine, body) for body in [*bodies, bodies[0]]))

        for body, answer in zip(bodies, self.do(deliver()), strict=False):
            self.sent["", body] = answer.record_id
        self._wait(wait)

    @rule(ends=st.lists(st.tuples(many, outcome), min_size=1, max_size=6), wait=patience)
    def end(self, ends: list[tuple[int, str]], wait: int | None) -> None:
        """Some of the handlers that are being called end."""
        for place, how in ends:
            gates = [gate for engine in self.engines for gate in engine.gates.waiting if not gate.done()]
            if gates:
                gates[place % len(gates)].set_result(how)
        self._wait(wait)

    @rule(ends=st.lists(st.tuples(many, outcome), min_size=2, max_size=9), wait=patience)
    def end_more(self, ends: list[tuple[int, str]], wait: int | None) -> None:
        self.end(ends, wait)

    @rule(which=few, wait=patience, ends=st.lists(st.tuples(many, outcome), max_size=4))
    def die(self, which: int, wait: int | None, ends: list[tuple[int, str]]) -> None:
        """One is killed and its lease runs out; what it was doing is over, what others then see is not."""
        self.end(ends, wait)
        engine = self._engine(which)
        self.do(engine.die())
        self.do(engine.lapse())
        self._gone(engine)
        self._hire()
        self._poll()

    @rule(which=few)
    def lapse(self, which: int) -> None:
        """One is taken for dead, while it goes on."""
        if len(self.engines) < 3:
            self._hire()
        self.do(self._engine(which).lapse())
        self._poll()

    @rule(which=few)
    def stop(self, which: int) -> None:
        engine = self._engine(which)
        self.do(engine.stop())
        self._gone(engine)
        self._hire()
        self._poll()

    @rule()
    def time_passes(self) -> None:
        self.do(inboxes.run_sql(self.inbox, _LATER))
        self._poll()

    @rule(handler=st.sampled_from((None, *HANDLERS)), state=st.sampled_from(("handled", "failed")))
    def replay(self, handler: str | None, state: str) -> None:
        self._wait(None)
        before = succeeded(self.do(stored(self.inbox)))
        self.do(replay(self.inbox.database, ReplayCriteria(state=state, handler=handler), who="anna"))
        again = before - succeeded(self.do(stored(self.inbox)))
        self.counted.update(record_id for record_id, name in again if name == "money")
        self._poll()

    @invariant()
    def is_kept(self) -> None:
        self.before, self.now = self.now, self.do(stored(self.inbox))
        self.assert_kept()
        assert self.trouble == []

    def teardown(self) -> None:
        """Whatever has happened, another worker brings everything to an end."""
        for engine in self.engines:
            self.do(engine.die())
            self.do(engine.lapse())
            self._gone(engine)
        last = self._hire()
        last.gates.is_open = True
        for _ in range(10):
            self.time_passes()
            self.do(last.engine.idle())
            self.is_kept()
        self.do(last.ownership.forget_the_dead())
        self.do(last.engine.stop(grace=5))
        self.is_kept()
        assert {row.state for row in self.now.events.values()} <= {"handled", "failed"}
        assert set(itertools.product(self.now.events, HANDLERS)) == set(self.now.runs)
        assert [row for row in self.now.tasks.values() if row.record_id is not None or row.owner is not None] == []

    # How

    def _engine(self, which: int) -> Engine:
        return self.engines[which % len(self.engines)]

    def _hire(self) -> Engine:
        async def hire() -> Engine:
            engine = Engine(self.inbox, next(self.names), self._is_called)
            await engine.engine.start()
            return engine

        engine = self.do(hire())
        self.engines.append(engine)
        return engine

    def _gone(self, engine: Engine) -> None:
        self.engines = [one for one in self.engines if one is not engine]

    async def _receive(self, engine: Engine, body: bytes) -> Stored:
        """Stores a delivery and tells the engine of a new record, as a receiver does."""
        arrival, row = inboxes.arrival(body), inboxes.row(body)
        reading = read_payload(decode_object(body))

        def hand_over(record_id: int) -> None:
            claimable = Claimable(record_id, row.task_key, row.task_id, row.tenant)
            engine.engine.hand_over(record_id, Work(claimable, reading, body, row.received_at))

        return await self.inbox.record(arrival, row, hand_over)

    def _poll(self) -> None:
        """As each engine does every second."""
        for engine in self.engines:
            engine.engine.look_again()
        self._wait(None)

    def _wait(self, rounds: int | None) -> None:
        async def wait() -> None:
            left, quiet = rounds or 0, 0
            deadline = time.monotonic() + 20
            while left > 0 or (rounds is None and quiet < 10):
                await asyncio.sleep(0 if quiet else 0.0005)
                left -= 1
                assert time.monotonic() < deadline, "an engine comes to no rest"
                quiet = quiet + 1 if all(engine.is_quiet for engine in self.engines) else 0

        self.do(wait())

    def _is_called(self, engine: Engine, context: Context) -> None:
        """Notes what must not be: a task in two hands, or its events out of order."""
        task = context.event.task_id
        if engine.has_lapsed:
            self.begun_late[task].append(context.record_id)
            return
        for other in self.engines:
            if other is not engine and not other.has_lapsed and task is not None and self._holds(other, task):
                self.trouble.append(f"{task} is handled by {engine.name} and {other.name}")
        begun = self.begun[task]
        if task is not None and begun and context.record_id < max(begun) and not self._has_begun(task, context):
            self.trouble.append(f"{task}: record {context.record_id} begins after {begun}")
        begun.append(context.record_id)

    def _has_begun(self, task: str, context: Context) -> bool:
        return context.record_id in self.begun[task] or context.record_id in self.begun_late[task]

    def _holds(self, engine: Engine, task: str) -> bool:
        lanes = engine.engine._lanes._lanes.values()
        return any(turn.work.claimable.task_id == task for lane in lanes for turn in lane.queue)


_LATER = "UPDATE webhook_handler_runs SET next_attempt_at = next_attempt_at - 5000, scheduled_at = scheduled_at - 5000"


@pytest.fixture
def world(database: databases.TestDatabase) -> Iterator[World]:
    with opened_world(database, on_stored=lambda record_id, hand_over: hand_over(record_id)) as opened:
        yield opened


@pytest.mark.timeout(36_000)  # for as many examples as one likes
def test_engines_keep_the_invariants_whatever_happens_around_them(
    database: databases.TestDatabase, world: World, request: pytest.FixtureRequest
) -> None:
    examples = request.config.getoption("examples")
    draw(lambda: Engines(world), examples=examples, otherwise=EXAMPLES[database.kind], steps=STEPS)
