"""A task is one worker's at a time: claimed, fenced, given back, taken over when its owner is silent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import deliveries
import inboxes
import pytest

from morag_client.inbox.inbox import Inbox
from morag_client.inbox.ownership import Claimable, Grant, Ownership, RunRow, Settlement
from morag_client.inbox.queries import Queries

LEASE = 30.0
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def run(handler: str = "index", state: str = "succeeded", *, attempts: int = 1) -> RunRow:
    return RunRow(handler, state, attempts, None, None, MOMENT, MOMENT)


class Worker:
    """One of several workers on an inbox, alive by its heartbeat."""

    def __init__(self, inbox: Inbox, name: str, *, lease: float = LEASE) -> None:
        self.inbox = inbox
        self.name = name
        self.ownership = Ownership(inbox.database, worker_id=name, lease=lease)

    async def beat(self) -> None:
        await self.ownership.beat(hostname="here", pid=1)

    async def claim(self, *record_ids: int) -> dict[bytes, Grant]:
        found = [await Queries(self.inbox).get(record_id) for record_id in record_ids]
        claimables = [Claimable(one.id, one.task_key, one.task_id, one.tenant) for one in found]
        return {grant.lane: grant for grant in await self.ownership.claim(claimables)}

    async def claim_one(self, record_id: int) -> Grant | None:
        return next(iter((await self.claim(record_id)).values()), None)

    async def settle(self, grant: Grant, record_id: int, *runs: RunRow, release: bool = True) -> set[tuple[bytes, int]]:
        settlement = Settlement(record_id, grant.lane, grant.epoch, "handled", runs)
        return await self.ownership.settle([settlement], release=[grant.lane] if release else [])


@pytest.fixture
async def ann(inbox: Inbox) -> Worker:
    worker = Worker(inbox, "ann")
    await worker.beat()
    return worker


@pytest.fixture
async def bob(inbox: Inbox) -> Worker:
    worker = Worker(inbox, "bob")
    await worker.beat()
    return worker


async def stored(inbox: Inbox, *task_ids: str | None) -> list[int]:
    bodies = [deliveries.unknown_body() if task is None else deliveries.task_body(task) for task in task_ids]
    return [(await inboxes.record(inbox, body)).record_id for body in bodies]


async def silence(inbox: Inbox, worker: Worker, *, seconds: float) -> None:
    """Lets a worker's last heartbeat lie so far back, by the database's clock."""
    async with inbox.database.writing() as connection:
        workers = inbox.database.tables.workers
        await connection.execute(
            workers.update().where(workers.c.id == worker.name).values(heartbeat_at=workers.c.heartbeat_at - seconds)
        )


async def sequences(inbox: Inbox) -> list[int | None]:
    return [row.sequence for row in await inboxes.rows_of(inbox, "events", "id, sequence")]


async def owners(inbox: Inbox) -> dict[str | None, tuple[str | None, int]]:
    rows = await inboxes.rows_of(inbox, "tasks", "task_id, owner, epoch")
    return {row.task_id: (row.owner, row.epoch) for row in rows}


async def test_a_free_task_is_granted_and_its_records_numbered(inbox: Inbox, ann: Worker) -> None:
    ids = await stored(inbox, "a", "b", "a")

    grants = await ann.claim(*ids)

    assert sorted(tuple(grant.sequences.items()) for grant in grants.values()) == [
        ((1, 1), (3, 2)),
        ((2, 1),),
    ]
    assert {grant.epoch for grant in grants.values()} == {1}
    assert await sequences(inbox) == [1, 1, 2]
    assert await owners(inbox) == {"a": ("ann", 1), "b": ("ann", 1)}


async def test_what_a_living_worker_owns_is_refused(inbox: Inbox, ann: Worker, bob: Worker) -> None:
    ids = await stored(inbox, "a", "b", "a")
    await ann.claim(ids[0])

    grants = await bob.claim(*ids)

    assert [list(grant.sequences) for grant in grants.values()] == [[2]]
    assert await owners(inbox) == {"a": ("ann", 1), "b": ("bob", 1)}
    assert await sequences(inbox) == [1, 1, None]


async def test_ones_own_task_is_granted_again_with_the_same_epoch(inbox: Inbox, ann: Worker) -> None:
    first, second = await stored(inbox, "a", "a")
    grant = await ann.claim_one(first)

    again = await ann.claim_one(second)

    assert (again.lane, again.epoch, again.sequences) == (grant.lane, grant.epoch, {second: 2})


async def test_many_workers_at_once_get_each_task_once(inbox: Inbox) -> None:
    ids = await stored(inbox, *(f"task-{number}" for number in range(40)))
    workers = [Worker(inbox, f"worker-{number}") for number in range(8)]
    for worker in workers:
        await worker.beat()

    granted = await asyncio.gather(*(worker.claim(*ids) for worker in workers))

    lanes = [lane for grants in granted for lane in grants]
    assert len(lanes) == len(set(lanes)) == 40


async def test_a_given_back_task_is_anybodys(inbox: Inbox, ann: Worker, bob: Worker) -> None:
    [record_id] = await stored(inbox, "a")
    grant = await ann.claim_one(record_id)

    lost = await ann.settle(grant, record_id, run())
    [later] = await stored(inbox, "a")
    taken = await bob.claim_one(later)

    assert lost == set()
    assert (taken.epoch, taken.sequences) == (2, {later: 2})


@pytest.mark.parametrize(("seconds", "is_taken"), [(LEASE - 5, False), (LEASE + 5, True)])
async def test_a_silent_workers_tasks_are_taken_over_after_the_lease(
    inbox: Inbox, ann: Worker, bob: Worker, seconds: float, is_taken: bool
) -> None:
    [record_id] = await stored(inbox, "a")
    await ann.claim_one(record_id)

    await silence(inbox, ann, seconds=seconds)
    grant = await bob.claim_one(record_id)

    assert (grant is not None) is is_taken
    if grant is not None:
        assert grant.epoch == 2


async def test_a_worker_without_a_row_is_dead(inbox: Inbox, bob: Worker) -> None:
    [record_id] = await stored(inbox, "a")
    await Worker(inbox, "never beat").claim_one(record_id)

    assert (await bob.claim_one(record_id)).epoch == 2


async def test_the_databases_clock_is_the_one_that_counts(inbox: Inbox, ann: Worker) -> None:
    [row] = await inboxes.rows_of(inbox, "workers", "id, hostname, pid, heartbeat_at")

    assert (row.id, row.hostname, row.pid) == ("ann", "here", 1)
    assert abs(row.heartbeat_at - datetime.now(UTC).timestamp()) < 5
    await asyncio.sleep(0.01)
    await ann.beat()
    [later] = await inboxes.rows_of(inbox, "workers", "id, heartbeat_at")
    assert later.heartbeat_at > row.heartbeat_at


async def test_a_settle_behind_the_fence_writes_nothing(inbox: Inbox, ann: Worker, bob: Worker) -> None:
    [record_id] = await stored(inbox, "a")
    stale = await ann.claim_one(record_id)
    await silence(inbox, ann, seconds=LEASE + 5)
    await bob.claim_one(record_id)

    lost = await ann.settle(stale, record_id, run())

    assert lost == {(stale.lane, 1)}
    record = await Queries(inbox).get(record_id)
    assert (record.state, list(record.runs)) == ("stored", [])
    assert await owners(inbox) == {"a": ("bob", 2)}


async def test_the_epoch_fences_a_worker_from_its_own_past(inbox: Inbox, ann: Worker, bob: Worker) -> None:
    [record_id] = await stored(inbox, "a")
    stale = await ann.claim_one(record_id)
    await silence(inbox, ann, seconds=LEASE + 5)
    await bob.claim_one(record_id)
    await silence(inbox, bob, seconds=LEASE + 5)
    await ann.beat()
    fresh = await ann.claim_one(record_id)

    assert await ann.settle(stale, record_id, run(state="failed")) == {(stale.lane, 1)}
    assert await ann.settle(fresh, record_id, run()) == set()
    assert [one.state for one in (await Queries(inbox).get(record_id)).runs] == ["succeeded"]


async def test_the_fence_holds_for_each_outcome_of_a_batch(inbox: Inbox, ann: Worker, bob: Worker) -> None:
    ids = await stored(inbox, "a", "a")
    stale = await ann.claim_one(ids[0])
    await ann.ownership.leave()
    await bob.settle(await bob.claim_one(ids[1]), ids[1])
    fresh = await ann.claim_one(ids[0])

    lost = await ann.ownership.settle(
        [
            Settlement(ids[0], stale.lane, stale.epoch, "failed", [run(state="failed")]),
            Settlement(ids[0], fresh.lane, fresh.epoch, "handled", [run()]),
        ],
        release=[],
    )

    assert lost == {(stale.lane, 1)}
    record = await Queries(inbox).get(ids[0])
    assert (record.state, [one.state for one in record.runs]) == ("handled", ["succeeded"])


async def test_one_lost_task_does_not_keep_the_others_of_a_batch_from_being_settled(
    inbox: Inbox, ann: Worker, bob: Worker
) -> None:
    ids = await stored(inbox, "a", "b")
    grants = list((await ann.claim(*ids)).values())
    settlements = [Settlement(next(iter(grant.sequences)), grant.lane, grant.epoch, "handled", []) for grant in grants]
    await silence(inbox, ann, seconds=LEASE + 5)
    stolen = await bob.claim_one(ids[0])
    await ann.beat()

    lost = await ann.ownership.settle(settlements, release=[grant.lane for grant in grants])

    assert lost == {(stolen.lane, 1)}
    assert [record.state for record in await Queries(inbox).newest(limit=9)] == ["handled", "stored"]
    assert await owners(inbox) == {"a": ("bob", 2), "b": (None, 1)}


async def test_outcomes_are_one_row_for_each_handler_and_record(inbox: Inbox, ann: Worker) -> None:
    [record_id] = await stored(inbox, "a")
    grant = await ann.claim_one(record_id)
    failed = RunRow("index", "failed", 1, "ValueError: no", "Traceback…", MOMENT, MOMENT)

    await ann.settle(grant, record_id, failed, run("bill"), release=False)
    await ann.settle(grant, record_id, run("index", attempts=2))

    record = await Queries(inbox).get(record_id)
    assert [(one.handler, one.state, one.attempts, one.error, one.traceback) for one in record.runs] == [
        ("index", "succeeded", 2, None, None),
        ("bill", "succeeded", 1, None, None),
    ]
    assert record.runs[0].finished_at == MOMENT


async def test_numbers_go_on_and_are_kept_after_a_re_claim(inbox: Inbox, ann: Worker, bob: Worker) -> None:
    ids = await stored(inbox, "a", "a")
    await ann.claim(*ids)
    await silence(inbox, ann, seconds=LEASE + 5)
    ids += await stored(inbox, "a")

    grant = next(iter((await bob.claim(*ids)).values()))

    assert grant.sequences == {ids[0]: 1, ids[1]: 2, ids[2]: 3}
    assert await sequences(inbox) == [1, 2, 3]


async def test_numbers_go_on_where_some_records_were_settled(inbox: Inbox, ann: Worker) -> None:
    for number in range(1, 5):
        [record_id] = await stored(inbox, "a")
        grant = await ann.claim_one(record_id)
        assert grant.sequences == {record_id: number}
        await ann.settle(grant, record_id, release=number % 2 == 0)


async def test_records_without_a_task_are_lanes_of_their_own_and_leave_no_trace(inbox: Inbox, ann: Worker) -> None:
    ids = await stored(inbox, None, None)

    grants = list((await ann.claim(*ids)).values())

    assert sorted(list(grant.sequences.items()) for grant in grants) == [[(record_id, None)] for record_id in ids]
    assert len({grant.lane for grant in grants}) == 2
    for grant in grants:
        await ann.settle(grant, next(iter(grant.sequences)), run())
    assert await inboxes.rows_of(inbox, "tasks") == []
    assert await sequences(inbox) == [None, None]


async def test_what_was_settled_since_it_was_read_is_not_granted_again(inbox: Inbox, ann: Worker, bob: Worker) -> None:
    ids = await stored(inbox, "a", "a", None)
    read = [
        Claimable(one.id, one.task_key, one.task_id, one.tenant)
        for one in await Queries(inbox).waiting(after=0, limit=9)
    ]
    for record_id in (ids[0], ids[2]):
        await ann.settle(await ann.claim_one(record_id), record_id, run())

    grants = await bob.ownership.claim(read)

    assert sorted(list(grant.sequences.items()) for grant in grants) == [[], [(ids[1], 2)]]


async def test_leaving_gives_everything_back_at_once(inbox: Inbox, ann: Worker, bob: Worker) -> None:
    ids = await stored(inbox, "a", None)
    await ann.claim(*ids)

    await ann.ownership.leave()

    assert len(await bob.claim(*ids)) == 2
    assert [row.id for row in await inboxes.rows_of(inbox, "workers", "id")] == ["bob"]


async def test_leaving_keeps_what_still_runs_until_the_lease_ends(inbox: Inbox, ann: Worker, bob: Worker) -> None:
    ids = await stored(inbox, "a", "b")
    grants = await ann.claim(*ids)
    hung = next(lane for lane, grant in grants.items() if ids[0] in grant.sequences)

    await ann.ownership.leave(keep=[hung])

    assert [list(grant.sequences) for grant in (await bob.claim(*ids)).values()] == [[ids[1]]]
    await silence(inbox, ann, seconds=LEASE + 5)
    assert await bob.claim_one(ids[0]) is not None


async def test_workers_that_died_long_ago_are_forgotten_unless_they_hold_something(
    inbox: Inbox, ann: Worker, bob: Worker
) -> None:
    [record_id] = await stored(inbox, "t")
    assert await bob.claim_one(record_id)
    for name in ("cat", "dog"):
        await Worker(inbox, name).beat()
    for worker, leases in ((bob, 100), (Worker(inbox, "cat"), 100), (Worker(inbox, "dog"), 2)):
        await silence(inbox, worker, seconds=leases * LEASE)

    await ann.ownership.forget_the_dead()

    assert {row.id for row in await inboxes.rows_of(inbox, "workers", "id")} == {"ann", "bob", "dog"}


def test_records_of_one_task_share_a_lane_and_others_do_not() -> None:
    def lanes(*claimables: Claimable) -> Sequence[bytes]:
        return [claimable.lane for claimable in claimables]

    one, same, other = lanes(*(Claimable(number, key, None, "") for number, key in ((1, b"k"), (2, b"k"), (3, b"l"))))
    assert one == same != other
    assert len(set(lanes(*(Claimable(number, None, None, "") for number in range(5))))) == 5
