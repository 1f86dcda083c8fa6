"""Any interleaving of deliveries, crashes, retries, replays and what operators do keeps what is promised.

A state machine draws the steps of several workers one by one; some are taken for dead while they still go on. After
every step all that is stored is looked at; in the end a new worker has to be able to finish everything.

More of them than CI draws: `scripts/test tests/contract/test_invariants.py --examples 2000`, each time others.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, NamedTuple

import databases
import inboxes
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from invariants import Promises, World, body_of, draw, opened_world, succeeded
from stepping import WAITING, Script, Stored, Worker, empty, stored

from morag_client.inbox import dead_letters
from morag_client.inbox.dead_letters import DeadLetterFilter
from morag_client.inbox.replay_criteria import ReplayCriteria
from morag_client.inbox.replaying import replay, replay_one

EXAMPLES = {"sqlite": 15, "postgres": 4}
STEPS = 60
RELEASES = (("index", "money"), ("index", "mail"))
"""The handlers of two releases that work side by side."""
EVERYTHING = ("index", "mail", "money")

few = st.integers(0, 2)
"""Which worker or task: whichever there is."""
many = st.integers(0, 30)
mostly = st.sampled_from((True, True, True, False))
outcome = st.sampled_from(("succeed", "succeed", "fail", "later", "discard"))
outcomes = st.fixed_dictionaries(dict.fromkeys(EVERYTHING, outcome))
handler = st.sampled_from((None, *EVERYTHING))
statuses = st.sampled_from(("started", "progress", "completed", "failed", "cancelled", "chunking", "unknown"))
deliveries_of = st.tuples(st.sampled_from(("", "acme")), few, statuses, st.integers(0, 100), st.integers(1, 2))
"""Tenant, task (the last is none), what happened, progress, how often it is sent."""


class Shift(NamedTuple):
    """What a worker does in one go."""

    which: int
    looks: str | None
    """Reads what waits, now or at a later time; else it knows what it has read earlier."""
    claims: bool
    ends: list[dict[str, str]]
    """How the handlers of each record end; it does not come to more of them."""
    sticks: int
    """The one of those that is over its time at first."""
    settles: int


shifts = st.builds(
    Shift,
    few,
    st.sampled_from(("now", "later", None)),
    mostly,
    st.lists(outcomes, min_size=1, max_size=5),
    many,
    st.sampled_from((0, 1, 99, 99)),
)


class Interleavings(Promises, RuleBasedStateMachine):
    """The rules are what can happen, the invariants what holds after each."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.do = world.do
        self.inbox = world.inbox
        self.names = map("worker-{}".format, itertools.count())
        self.script = Script()
        self.workers: list[Worker] = []
        self.do(empty(self.inbox))
        self.now = self.before = self.do(stored(self.inbox))

    @initialize(what=st.lists(deliveries_of, min_size=2, max_size=6))
    def begin(self, what: list[tuple[str, int, str, int, int]]) -> None:
        for release in range(2):
            self._hire(release)
        self.deliver(what)

    # What can happen: deliveries

    @rule(what=st.lists(deliveries_of, min_size=1, max_size=6), again=st.lists(many, max_size=2))
    def deliver(self, what: list[tuple[str, int, str, int, int]], again: list[int] = ()) -> None:  # type: ignore[assignment]
        sent = [(tenant, body_of(task, status, progress)) for tenant, task, status, progress, _ in what]
        known = list(self.sent)
        repeated = [known[place % len(known)] for place in again if known]
        self._deliver(repeated + [one for one, (*_, times) in zip(sent, what, strict=True) for _ in range(times)])

    # workers, as far as they come in one go

    @rule(shift=shifts)
    def work(self, shift: Shift) -> None:
        self._work(self._worker(shift.which), shift)

    @rule(what=st.lists(deliveries_of, min_size=1, max_size=6), shift=shifts)
    def deliver_and_work(self, what: list[tuple[str, int, str, int, int]], shift: Shift) -> None:
        self.deliver(what)
        self._work(self._worker(shift.which), shift)

    @rule(which=few, shift=shifts)
    def take_over(self, which: int, shift: Shift) -> None:
        self.do(self._worker(which).lapse())
        self._work(self._worker(shift.which), shift)

    @rule(which=few, settles=st.integers(1, 3), looks=st.booleans())
    def settle_and_claim(self, which: int, settles: int, looks: bool) -> None:
        worker = self._worker(which)
        if looks:
            self.do(worker.look())
        self._turn(worker, settle=settles, claim=True)

    @rule(claim=st.booleans())
    def turn_all_at_once(self, claim: bool) -> None:
        async def turns() -> None:
            if claim:
                await asyncio.gather(*(worker.look() for worker in self.workers))
            await asyncio.gather(*(worker.turn(settle=999, claim=claim) for worker in self.workers))

        self.do(turns())

    # workers that come, go, die, or are only taken for dead

    @rule(which=few, how=st.sampled_from(("crash", "vanish", "leave", "wake", "come")))
    def come_and_go(self, which: int, how: str) -> None:
        worker = self._worker(which)
        if how == "crash":  # and its lease is over at once
            self.do(worker.lapse())
        elif how == "leave":
            self.do(worker.leave())
        elif how == "wake":
            self.do(worker.beat())
        if how in {"crash", "vanish", "leave"}:
            self.workers.remove(worker)
        if how != "wake" and len(self.workers) < 3:
            self._hire(which)

    @rule(which=few)
    def adopt(self, which: int) -> None:
        """Lets one take up what a worker of the other release had no handler for."""
        self.do(self._worker(which).adopt())

    # time, and operators

    @rule()
    def time_passes(self) -> None:
        self.do(inboxes.run_sql(self.inbox, _LATER))

    @rule(record=many, name=handler)
    def replay_one(self, record: int, name: str | None) -> None:
        if self.now.events:
            record_id = list(self.now.events)[record % len(self.now.events)]
            self._operate(replay_one(self.inbox.database, record_id, handler=name, who="anna"))

    @rule(state=st.sampled_from((None, "handled", "failed", "retrying")), name=handler, shift=shifts)
    def replay_many(self, state: str | None, name: str | None, shift: Shift) -> None:
        criteria = ReplayCriteria(name="*", state=state, handler=name)
        self._operate(replay(self.inbox.database, criteria, who="anna"))
        self._work(self._worker(shift.which), shift)

    @rule(name=handler, discards=st.booleans())
    def act_on_dead_letters(self, name: str | None, discards: bool) -> None:
        wanted = DeadLetterFilter(handler=name)
        act: Callable[..., Coroutine[Any, Any, Any]] = dead_letters.discard if discards else dead_letters.retry
        self._operate(act(self.inbox.database, wanted, who="anna"))

    # What holds, after each of them

    @invariant()
    def is_kept(self) -> None:
        self.before, self.now = self.now, self.do(stored(self.inbox))
        self.assert_kept()
        self.assert_the_living_keep_what_they_own()

    def assert_the_living_keep_what_they_own(self) -> None:
        for worker in self.workers:
            for key, lane in worker.lanes.items():
                row = self.now.tasks.get(key)
                if not worker.has_lapsed:
                    assert row is not None
                    assert (row.owner, row.epoch) == (worker.name, lane.epoch)

    def teardown(self) -> None:
        """Whatever has happened, a worker that knows all handlers brings everything to an end."""
        self.do(inboxes.run_sql(self.inbox, "UPDATE webhook_workers SET heartbeat_at = heartbeat_at - 1000"))
        self.workers.clear()
        last = self._hire(0, EVERYTHING)
        while any(row.state in {"stored", "retrying"} for row in self.now.events.values()):
            self.time_passes()
            self.do(last.adopt())
            self.do(last.look())
            self.do(last.turn(claim=True))
            assert last.in_hand, "nobody finds what is not at its end"
            while self._handle(last, 0, {}, sticks=False):
                pass
            assert self.do(last.turn(settle=999)) == set()
            self.is_kept()
        self.do(last.forget_the_dead())
        self.do(last.leave())
        self.is_kept()
        for record_id in self.now.events:
            assert (record_id, "index") in self.now.runs
        assert [row for row in self.now.tasks.values() if row.record_id is not None or row.owner is not None] == []

    # How

    def _hire(self, release: int, handlers: tuple[str, ...] | None = None) -> Worker:
        worker = Worker(self.inbox, next(self.names), self.script, handlers or RELEASES[release % 2])
        self.do(worker.beat())
        self.workers.append(worker)
        return worker

    def _worker(self, which: int) -> Worker:
        return self.workers[which % len(self.workers)]

    def _work(self, worker: Worker, shift: Shift) -> None:
        if shift.looks == "later":
            self.time_passes()
        if shift.looks is not None:
            self.do(worker.look())
        if shift.claims:
            self._turn(worker, claim=True)
        for place, ends in enumerate(shift.ends):
            self._handle(worker, place, ends, sticks=shift.sticks == place)
        if shift.settles:
            self._turn(worker, settle=shift.settles)

    def _deliver(self, sent: list[tuple[str, bytes]]) -> None:
        async def deliver() -> list[Any]:
            return await asyncio.gather(*(inboxes.record(self.inbox, body, tenant=tenant) for tenant, body in sent))

        known = set(self.sent)
        for key, answer in zip(sent, self.do(deliver()), strict=True):
            assert answer.is_new is (key not in known)
            known.add(key)
            assert self.sent.setdefault(key, answer.record_id) == answer.record_id

    def _turn(self, worker: Worker, *, settle: int = 0, claim: bool = False) -> None:
        settling = worker.finished[:settle]
        before = self.do(stored(self.inbox)) if settling else self.now
        is_lost = {(one.lane, one.epoch) for one in settling if not _owns(before, worker.name, one.lane, one.epoch)}
        untouched = [one.record_id for one in settling if (one.lane, one.epoch) in is_lost]

        lost = self.do(worker.turn(settle=settle, claim=claim))

        assert lost == is_lost
        if untouched:
            assert self.do(stored(self.inbox)).about(untouched) == before.about(untouched)

    def _handle(self, worker: Worker, lane: int, ends: dict[str, str], *, sticks: bool) -> bool:
        """Whether there was something to handle."""
        if not worker.ready:
            return False
        before = self.do(stored(self.inbox))
        began = len(self.script.calls)
        turn = self.do(worker.run(lane, ends, sticks=sticks))
        if _owns(before, worker.name, turn.work.claimable.lane, turn.epoch):
            for call in self.script.calls[began:]:
                earlier = before.runs.get((call.record_id, call.handler))
                assert earlier is None or earlier.state in WAITING, "it had its end already"
                is_due = earlier is None or (earlier.next_attempt_at or 0) < time.time() + 1
                assert is_due, "it is not due"
        return True

    def _operate(self, work: Coroutine[Any, Any, Any]) -> None:
        before = succeeded(self.do(stored(self.inbox)))
        self.do(work)
        again = before - succeeded(self.do(stored(self.inbox)))
        money = {record_id for record_id, name in again if name == "money"}
        self.counted.update(money)
        unsettled = [one for worker in self.workers for one in worker.finished if one.record_id in money]
        self.met.update({one.record_id for one in unsettled if any(run.handler == "money" for run in one.runs)})


_LATER = "UPDATE webhook_handler_runs SET next_attempt_at = next_attempt_at - 5000, scheduled_at = scheduled_at - 5000"


def _owns(now: Stored, name: str, lane: bytes, epoch: int) -> bool:
    row = now.tasks.get(lane)
    return row is not None and (row.owner, row.epoch) == (name, epoch)


@pytest.fixture
def world(database: databases.TestDatabase) -> Iterator[World]:
    with opened_world(database) as opened:
        yield opened


@pytest.mark.timeout(36_000)  # for as many examples as one likes
def test_any_interleaving_keeps_the_invariants(
    database: databases.TestDatabase, world: World, request: pytest.FixtureRequest
) -> None:
    examples = request.config.getoption("examples")
    draw(lambda: Interleavings(world), examples=examples, otherwise=EXAMPLES[database.kind], steps=STEPS)
