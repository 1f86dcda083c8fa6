"""A task is one worker's at a time: claimed, fenced, given back, taken over when its owner is silent."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial

import inboxes
import pytest
from workers import LEASE, MOMENT, Worker, claimables, run, sequences, stored

from morag_client.inbox.inbox import Inbox
from morag_client.inbox.lanes import Claimable, EarlierRun, Granted, RunRow, Settlement
from morag_client.inbox.queries import Queries


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


async def stored_sequences(inbox: Inbox) -> list[int | None]:
    return [row.sequence for row in await inboxes.rows_of(inbox, "events", "id, sequence")]


async def owners(inbox: Inbox) -> dict[str | None, tuple[str | None, int]]:
    rows = await inboxes.rows_of(inbox, "tasks", "task_id, owner, epoch")
    return {row.task_id: (row.owner, row.epoch) for row in rows}


async def test_a_free_task_is_granted_and_its_records_numbered(inbox: Inbox, ann: Worker) -> None:
    ids = await stored(inbox, "a", "b", "a")

    grants = await ann.claim(*ids)

    assert sorted(tuple(sequences(grant).items()) for grant in grants.values()) == [((1, 1), (3, 2)), ((2, 1),)]
    assert {grant.epoch for grant in grants.values()} == {1}
    assert await stored_sequences(inbox) == [1, 1, 2]
    assert await owners(inbox) == {"a": ("ann", 1), "b": ("ann", 1)}


async def test_a_claim_projects_the_state_of_its_tasks_once_for_each_event(inbox: Inbox, ann: Worker) -> None:
    ids = await stored(inbox, "a", "a", "a")

    first = await ann.claim_one(ids[0])
    again = next(iter((await ann.claim(*ids)).values()))

    assert first.records == [Granted(1, 1, is_late=False, task="1;", is_new=True)]
    assert again.records == [
        Granted(1, 1, is_late=False, task="1;2;3;"),
        Granted(2, 2, is_late=True, task="1;2;", is_new=True),
        Granted(3, 3, is_late=False, task="1;2;3;", is_new=True),
    ]
    [task] = await inboxes.rows_of(inbox, "tasks", "key, sequence, message, first_record_id, record_id")
    assert task[1:] == (3, "1;2;3;", 1, None)
    assert [bool(row.is_late) for row in await inboxes.rows_of(inbox, "events", "id, is_late")] == [False, True, False]


async def test_what_a_living_worker_owns_is_refused_and_stays_as_it_is(inbox: Inbox, ann: Worker, bob: Worker) -> None:
    ids = await stored(inbox, "a", "b", "a")
    await ann.claim(ids[0])

    grants = await bob.claim(*ids)

    assert [list(sequences(grant)) for grant in grants.values()] == [[2]]
    assert await owners(inbox) == {"a": ("ann", 1), "b": ("bob", 1)}
    assert await stored_sequences(inbox) == [1, 1, None]


async def test_ones_own_task_is_granted_again_with_the_same_epoch(inbox: Inbox, ann: Worker) -> None:
    first, second = await stored(inbox, "a", "a")
    grant = await ann.claim_one(first)

    again = await ann.claim_one(second)

    assert (again.lane, again.epoch, sequences(again)) == (grant.lane, grant.epoch, {second: 2})


async def test_many_workers_at_once_get_each_task_once(inbox: Inbox) -> None:
    ids = await stored(inbox, *(f"task-{number}" for number in range(40)))
    workers = [Worker(inbox, f"worker-{number}") for number in range(8)]
    for worker in workers:
        await worker.beat()

    granted = await asyncio.gather(
        *(worker.claim(*ids[number:], *ids[:number]) for number, worker in enumerate(workers))
    )

    lanes = [lane for grants in granted for lane in grants]
    assert len(lanes) == len(set(lanes)) == 40
    assert await stored_sequences(inbox) == [1] * 40


async def test_workers_that_settle_and_claim_at_once_wait_for_nobody_for_ever(inbox: Inbox) -> None:
    workers = [Worker(inbox, f"worker-{number}") for number in range(4)]
    for worker in workers:
        await worker.beat()

    async def work(worker: Worker) -> int:
        done = 0
        for _ in range(15):
            ids = await Queries(inbox).waiting_ids(after=0, limit=40)
            grants = await worker.claim(*ids)
            settlements = [
                Settlement(granted.record_id, lane, grant.epoch, "handled", [run()])
                for lane, grant in grants.items()
                for granted in grant.records
            ]
            lost, _ = await worker.turn(settle=settlements[::-1], release=list(grants)[::-1])
            assert lost == set()
            done += len(settlements)
            await stored(inbox, *(f"task-{number}" for number in range(10)))
        return done

    done = sum(await asyncio.gather(*(work(worker) for worker in workers)))

    states = [row.state for row in await inboxes.rows_of(inbox, "events", "id, state")]
    assert states.count("handled") == done > 100
    assert len(await inboxes.rows_of(inbox, "runs", "id")) == done


async def test_a_given_back_task_is_anybodys(inbox: Inbox, ann: Worker, bob: Worker) -> None:
    [record_id] = await stored(inbox, "a")
    grant = await ann.claim_one(record_id)

    lost = await ann.settle(grant, record_id, run())
    [later] = await stored(inbox, "a")
    taken = await bob.claim_one(later)

    assert lost == set()
    assert (taken.epoch, sequences(taken)) == (2, {later: 2})


async def test_one_turn_settles_releases_and_claims(inbox: Inbox, ann: Worker, bob: Worker) -> None:
    ids = await stored(inbox, "a", "b", "a", "c")
    grants = {granted.record_id: grant for grant in (await ann.claim(*ids[:2])).values() for granted in grant.records}

    lost, granted = await ann.turn(
        settle=[Settlement(number, grants[number].lane, 1, "handled", [run()]) for number in ids[:2]],
        release=[grants[ids[1]].lane],
        claim=await claimables(inbox, *ids[2:]),
    )

    assert lost == set()
    assert sorted(tuple(sequences(grant).items()) for grant in granted) == [((3, 2),), ((4, 1),)]
    assert await owners(inbox) == {"a": ("ann", 1), "b": (None, 1), "c": ("ann", 1)}
    assert {record.id: record.state for record in await Queries(inbox).newest(limit=9)} == {
        1: "handled",
        2: "handled",
        3: "stored",
        4: "stored",
    }


async def test_a_lane_that_is_given_back_and_wanted_again_in_one_turn_is_a_new_ownership(
    inbox: Inbox, ann: Worker
) -> None:
    ids = await stored(inbox, "a", "a")
    first = await ann.claim_one(ids[0])

    _, [again] = await ann.turn(
        settle=[Settlement(ids[0], first.lane, first.epoch, "handled", [])],
        release=[first.lane],
        claim=await claimables(inbox, ids[1]),
    )

    assert (again.epoch, sequences(again)) == (2, {ids[1]: 2})


@pytest.mark.parametrize(("seconds", "is_taken"), [(-LEASE + 5, False), (-LEASE - 5, True)])
async def test_a_silent_workers_tasks_are_taken_over_after_the_lease(
    inbox: Inbox, ann: Worker, bob: Worker, seconds: float, is_taken: bool
) -> None:
    [record_id] = await stored(inbox, "a")
    await ann.claim_one(record_id)

    await ann.shift(seconds)
    grant = await bob.claim_one(record_id)

    assert (grant is not None) is is_taken
    if grant is not None:
        assert grant.epoch == 2


@pytest.mark.parametrize(("seconds", "is_taken"), [(LEASE - 5, False), (LEASE + 5, True)])
async def test_a_heartbeat_from_the_future_is_of_a_clock_that_was_set_back_and_keeps_nothing_for_long(
    inbox: Inbox, ann: Worker, bob: Worker, seconds: float, is_taken: bool
) -> None:
    [record_id] = await stored(inbox, "a")
    await ann.claim_one(record_id)

    await ann.shift(seconds)

    assert (await bob.claim_one(record_id) is not None) is is_taken


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
    await ann.shift(-LEASE - 5)
    await bob.claim_one(record_id)

    lost = await ann.settle(stale, record_id, run())

    assert lost == {(stale.lane, 1)}
    record = await Queries(inbox).get(record_id)
    assert (record.state, list(record.runs)) == ("stored", [])
    assert await owners(inbox) == {"a": ("bob", 2)}


async def test_the_epoch_fences_a_worker_from_its_own_past(inbox: Inbox, ann: Worker, bob: Worker) -> None:
    [record_id] = await stored(inbox, "a")
    stale = await ann.claim_one(record_id)
    await ann.shift(-LEASE - 5)
    await bob.claim_one(record_id)
    await bob.shift(-LEASE - 5)
    await ann.beat()
    fresh = await ann.claim_one(record_id)

    assert await ann.settle(stale, record_id, run(state="failed")) == {(stale.lane, 1)}
    assert await owners(inbox) == {"a": ("ann", 3)}  # what was lost is not given back either
    assert await ann.settle(fresh, record_id, run()) == set()
    assert [one.state for one in (await Queries(inbox).get(record_id)).runs] == ["succeeded"]


async def test_the_fence_holds_for_each_outcome_of_a_batch(inbox: Inbox, ann: Worker, bob: Worker) -> None:
    ids = await stored(inbox, "a", "a")
    stale = await ann.claim_one(ids[0])
    await ann.ownership.leave()
    await bob.settle(await bob.claim_one(ids[1]), ids[1])
    fresh = await ann.claim_one(ids[0])

    lost, _ = await ann.turn(
        settle=[
            Settlement(ids[0], stale.lane, stale.epoch, "failed", [run(state="failed")]),
            Settlement(ids[0], fresh.lane, fresh.epoch, "handled", [run()]),
        ]
    )

    assert lost == {(stale.lane, 1)}
    record = await Queries(inbox).get(ids[0])
    assert (record.state, [one.state for one in record.runs]) == ("handled", ["succeeded"])


async def test_one_lost_task_does_not_keep_the_others_of_a_batch_from_being_settled(
    inbox: Inbox, ann: Worker, bob: Worker
) -> None:
    ids = await stored(inbox, "a", "b")
    grants = list((await ann.claim(*ids)).values())
    settlements = [
        Settlement(grant.records[0].record_id, grant.lane, grant.epoch, "handled", [run()]) for grant in grants
    ]
    await ann.shift(-LEASE - 5)
    stolen = await bob.claim_one(ids[0])
    await ann.beat()

    lost, _ = await ann.turn(settle=settlements, release=[grant.lane for grant in grants])

    assert lost == {(stolen.lane, 1)}
    assert [record.state for record in await Queries(inbox).newest(limit=9)] == ["handled", "stored"]
    assert await owners(inbox) == {"a": ("bob", 2), "b": (None, 1)}


async def test_outcomes_are_one_row_for_each_handler_and_record(inbox: Inbox, ann: Worker) -> None:
    [record_id] = await stored(inbox, "a")
    grant = await ann.claim_one(record_id)
    failed = RunRow("index", "failed", 1, "ValueError: no", "Traceback…", MOMENT, MOMENT)

    await ann.settle(grant, record_id, failed, run("bill"), outcome="unfinished", release=False)
    await ann.settle(grant, record_id, run("index", attempts=2))

    record = await Queries(inbox).get(record_id)
    assert [(one.handler, one.state, one.attempts, one.error, one.traceback) for one in record.runs] == [
        ("index", "succeeded", 2, None, None),
        ("bill", "succeeded", 1, None, None),
    ]
    assert record.runs[0].finished_at == MOMENT


async def test_a_success_is_never_overwritten(inbox: Inbox, ann: Worker) -> None:
    [record_id] = await stored(inbox, "a")
    grant = await ann.claim_one(record_id)
    await ann.settle(grant, record_id, run(), outcome="unfinished", release=False)

    await ann.settle(grant, record_id, run(state="retrying", attempts=2, delay=5.0), outcome="as_runs")

    record = await Queries(inbox).get(record_id)
    assert record.state == "handled"
    assert [(one.state, one.attempts, one.next_attempt_at) for one in record.runs] == [("succeeded", 1, None)]


@pytest.mark.parametrize(
    ("runs", "state"),
    [
        ({}, "handled"),
        ({"a": "succeeded", "b": "discarded"}, "handled"),
        ({"a": "succeeded", "b": "failed"}, "failed"),
        ({"a": "failed", "b": "retrying"}, "retrying"),
        ({"a": "stuck", "b": "succeeded"}, "retrying"),
    ],
)
async def test_a_records_state_is_what_its_runs_make_of_it(
    inbox: Inbox, ann: Worker, runs: dict[str, str], state: str
) -> None:
    [record_id] = await stored(inbox, "a")
    grant = await ann.claim_one(record_id)
    outcomes = [run(handler, how, delay=60.0 if how == "retrying" else None) for handler, how in runs.items()]

    await ann.settle(grant, record_id, *outcomes, outcome="as_runs")

    assert (await Queries(inbox).get(record_id)).state == state


async def test_what_is_unfinished_stays_as_it_was(inbox: Inbox, ann: Worker) -> None:
    [record_id] = await stored(inbox, "a")
    grant = await ann.claim_one(record_id)

    await ann.settle(grant, record_id, run("a"), outcome="unfinished", release=False)

    record = await Queries(inbox).get(record_id)
    assert (record.state, [one.handler for one in record.runs]) == ("stored", ["a"])


async def test_a_record_that_is_claimed_again_comes_with_its_earlier_runs(
    inbox: Inbox, ann: Worker, bob: Worker
) -> None:
    with_task, without, fresh = await stored(inbox, "a", None, "a")
    for record_id in (with_task, without):
        runs = [run("done"), run("soon", "retrying", delay=0.0), run("later", "retrying", attempts=3, delay=60.0)]
        await ann.settle(await ann.claim_one(record_id), record_id, *runs, outcome="as_runs")

    grants = await bob.claim(with_task, without, fresh)

    granted = {one.record_id: one for grant in grants.values() for one in grant.records}
    assert {one.handler: one for one in granted[with_task].runs} == {
        "done": EarlierRun("done", "succeeded", 1, is_due=False),
        "soon": EarlierRun("soon", "retrying", 1, is_due=True),
        "later": EarlierRun("later", "retrying", 3, is_due=False),
    }
    assert sorted(granted[without].runs, key=str) == sorted(granted[with_task].runs, key=str)
    assert list(granted[fresh].runs) == []
    assert {number: one.is_retry for number, one in granted.items()} == {with_task: True, without: True, fresh: False}


async def test_numbers_go_on_and_are_kept_after_a_re_claim(inbox: Inbox, ann: Worker, bob: Worker) -> None:
    ids = await stored(inbox, "a", "a")
    await ann.claim(*ids)
    await ann.shift(-LEASE - 5)
    ids += await stored(inbox, "a")

    grant = next(iter((await bob.claim(*ids)).values()))

    assert sequences(grant) == {ids[0]: 1, ids[1]: 2, ids[2]: 3}
    assert await stored_sequences(inbox) == [1, 2, 3]


async def test_numbers_go_on_where_some_records_were_settled(inbox: Inbox, ann: Worker) -> None:
    for number in range(1, 5):
        [record_id] = await stored(inbox, "a")
        grant = await ann.claim_one(record_id)
        assert sequences(grant) == {record_id: number}
        await ann.settle(grant, record_id, release=number % 2 == 0)


async def test_records_without_a_task_are_lanes_of_their_own_and_leave_no_trace(inbox: Inbox, ann: Worker) -> None:
    ids = await stored(inbox, None, None)

    grants = list((await ann.claim(*ids)).values())

    assert sorted(list(sequences(grant).items()) for grant in grants) == [[(record_id, None)] for record_id in ids]
    assert len({grant.lane for grant in grants}) == 2
    assert [granted.task for grant in grants for granted in grant.records] == [None, None]
    for grant in grants:
        await ann.settle(grant, grant.records[0].record_id, run())
    assert await inboxes.rows_of(inbox, "tasks") == []
    assert await stored_sequences(inbox) == [None, None]


async def test_what_was_settled_since_it_was_read_is_not_granted_again(inbox: Inbox, ann: Worker, bob: Worker) -> None:
    ids = await stored(inbox, "a", "a", None)
    read = await claimables(inbox, *ids)
    for record_id in (ids[0], ids[2]):
        await ann.settle(await ann.claim_one(record_id), record_id, run())

    _, grants = await bob.turn(claim=read)

    assert sorted(list(sequences(grant).items()) for grant in grants) == [[], [(ids[1], 2)]]


async def test_what_is_taken_in_vain_can_be_given_back(inbox: Inbox, ann: Worker, bob: Worker) -> None:
    [record_id] = await stored(inbox, None)
    read = await claimables(inbox, record_id)
    await ann.settle(await ann.claim_one(record_id), record_id, run())
    _, [grant] = await bob.turn(claim=read)

    await bob.turn(release=[grant.lane])

    assert grant.records == []
    assert await inboxes.rows_of(inbox, "tasks") == []


async def test_leaving_gives_everything_back_at_once(inbox: Inbox, ann: Worker, bob: Worker) -> None:
    ids = await stored(inbox, *(f"task-{number}" for number in range(1100)), None)
    await ann.claim(*ids)

    await ann.ownership.leave()

    assert len(await bob.claim(*ids)) == 1101
    assert [row.id for row in await inboxes.rows_of(inbox, "workers", "id")] == ["bob"]


async def test_leaving_keeps_what_still_runs_until_the_lease_ends(inbox: Inbox, ann: Worker, bob: Worker) -> None:
    ids = await stored(inbox, "a", "b")
    grants = await ann.claim(*ids)
    hung = next(lane for lane, grant in grants.items() if ids[0] in sequences(grant))

    await ann.ownership.leave(keep=[hung])

    assert [list(sequences(grant)) for grant in (await bob.claim(*ids)).values()] == [[ids[1]]]
    await ann.shift(-LEASE - 5)
    assert await bob.claim_one(ids[0]) is not None


async def test_workers_that_died_long_ago_are_forgotten(inbox: Inbox, ann: Worker, bob: Worker) -> None:
    cat = Worker(inbox, "cat")
    for worker, leases in ((bob, 100), (cat, 2)):
        await worker.beat()
        await worker.shift(-leases * LEASE)

    await ann.ownership.forget_the_dead()

    assert {row.id for row in await inboxes.rows_of(inbox, "workers", "id")} == {"ann", "cat"}


async def test_what_nobody_wants_any_more_is_not_kept_for_the_dead(inbox: Inbox, ann: Worker, bob: Worker) -> None:
    ids = await stored(inbox, "t", None)
    grants = await bob.claim(*ids)
    for record_id in ids:  # its last handler was a transactional one, and then it was killed
        await inbox.database.write(partial(bob.ownership.settling.write_run, record_id=record_id, run=run()))
    await inboxes.run_sql(inbox, "UPDATE webhook_events SET state = 'handled'")
    await bob.shift(-100 * LEASE)

    await ann.ownership.forget_the_dead()

    assert {row.id for row in await inboxes.rows_of(inbox, "workers", "id")} == {"ann"}
    assert await owners(inbox) == {"t": (None, 1)}
    # and should it have been asleep, what it still says counts for nothing
    for grant in grants.values():
        [granted] = grant.records
        assert await bob.settle(grant, granted.record_id, run(state="failed"), outcome="failed") == {(grant.lane, 1)}
    assert {row.state for row in await inboxes.rows_of(inbox, "events", "id, state")} == {"handled"}


def test_records_of_one_task_share_a_lane_and_others_do_not() -> None:
    one, same, other = (Claimable(number, key, None, "").lane for number, key in ((1, b"k"), (2, b"k"), (3, b"l")))
    assert one == same != other
    assert len({Claimable(number, None, None, "").lane for number in range(5)}) == 5


@pytest.mark.parametrize(("mine", "theirs", "is_taken"), [(100.0, 2.0, False), (2.0, 100.0, True)])
async def test_each_worker_lives_by_its_own_lease(inbox: Inbox, mine: float, theirs: float, is_taken: bool) -> None:
    [record_id] = await stored(inbox, "a")
    held, other = Worker(inbox, "held", lease=mine), Worker(inbox, "other", lease=theirs)
    await held.beat()
    await held.claim_one(record_id)

    await held.shift(-20)

    assert (await other.claim_one(record_id) is not None) is is_taken
    # and who is long dead by another's lease is not forgotten
    await held.shift(-1 if is_taken else -20)
    await other.ownership.forget_the_dead()
    names = {row.id for row in await inboxes.rows_of(inbox, "workers", "id")}
    assert ("held" in names) is not is_taken


async def test_a_worker_of_an_earlier_release_said_no_lease(inbox: Inbox, ann: Worker, bob: Worker) -> None:
    [record_id] = await stored(inbox, "a")
    await ann.claim_one(record_id)
    await inboxes.run_sql(inbox, "UPDATE webhook_workers SET lease = NULL")

    assert await bob.claim_one(record_id) is None
    await ann.shift(-LEASE - 5)
    assert (await bob.claim_one(record_id)).epoch == 2


async def deaths(inbox: Inbox) -> dict[str | None, int]:
    return {row.task_id: row.deaths for row in await inboxes.rows_of(inbox, "tasks", "task_id, deaths")}


async def test_deaths_in_succession_are_counted_until_the_task_is_given_back(inbox: Inbox) -> None:
    [record_id] = await stored(inbox, "a")
    counted = []
    for name in ("ann", "bob", "cat"):
        worker = Worker(inbox, name)
        await worker.beat()
        grant = await worker.claim_one(record_id)
        again = await worker.claim_one(record_id)  # what is ours already tells of nobody's death
        counted.append((grant.deaths, again.deaths))
        await worker.shift(-LEASE - 5)
    assert counted == [(0, 0), (1, 1), (2, 2)]

    await worker.beat()
    await worker.turn(release=[grant.lane])
    assert await deaths(inbox) == {"a": 0}
    assert (await Worker(inbox, "dan").claim_one(record_id)).deaths == 0


async def test_what_is_given_back_for_the_long_dead_keeps_count_and_what_waits(inbox: Inbox, ann: Worker) -> None:
    ids = await stored(inbox, "a", None, None)
    grants = await ann.claim(*ids)
    [single] = [grant for grant in grants.values() if grant.records[0].record_id == ids[2]]
    await ann.settle(single, ids[2], release=False)
    await ann.shift(-100 * LEASE)

    await Worker(inbox, "bob").ownership.forget_the_dead()

    rows = await inboxes.rows_of(inbox, "tasks", "record_id, task_id, owner, deaths")
    assert sorted(map(str, rows)) == sorted(map(str, [(None, "a", None, 1), (ids[1], None, None, 1)]))
    assert {grant.deaths for grant in (await Worker(inbox, "cat").claim(*ids[:2])).values()} == {1}


async def test_an_attempt_is_written_down_before_it_is_made_and_read_by_who_comes_next(
    inbox: Inbox, ann: Worker, bob: Worker
) -> None:
    [record_id] = await stored(inbox, "a")
    grant = await ann.claim_one(record_id)
    fence = {"lane": grant.lane, "epoch": grant.epoch}

    assert await ann.ownership.begin(record_id, "index", attempt=1, at=MOMENT, **fence)
    assert await ann.ownership.begin(record_id, "bill", attempt=3, at=MOMENT, **fence)
    assert await ann.ownership.end(record_id, run("bill", attempts=3), **fence)
    await ann.shift(-LEASE - 5)
    taken = await bob.claim_one(record_id)

    assert sorted(tuple(one) for one in taken.records[0].runs) == [
        ("bill", "succeeded", 3, False),
        ("index", "running", 1, True),
    ]
    assert await Queries(inbox).due_ids(after=0, limit=9) == [record_id]
    # and behind the fence nothing is
    assert not await ann.ownership.begin(record_id, "mail", attempt=1, at=MOMENT, **fence)
    assert not await ann.ownership.end(record_id, run("index"), **fence)
    assert [(one.handler, one.state) for one in (await Queries(inbox).get(record_id)).runs] == [
        ("index", "running"),
        ("bill", "succeeded"),
    ]


async def test_a_success_that_is_known_is_not_begun_again(inbox: Inbox, ann: Worker) -> None:
    [record_id] = await stored(inbox, "a")
    grant = await ann.claim_one(record_id)
    await ann.settle(grant, record_id, run(), outcome="unfinished", release=False)

    assert await ann.ownership.begin(record_id, "index", lane=grant.lane, epoch=grant.epoch, attempt=2, at=MOMENT)

    assert [(one.state, one.attempts) for one in (await Queries(inbox).get(record_id)).runs] == [("succeeded", 1)]
