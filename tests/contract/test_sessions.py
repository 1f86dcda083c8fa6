"""A handler's transaction: what it writes and its outcome are stored together or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

import databases
import deliveries
import inboxes
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from workers import LEASE, Worker, run, stored

from morag_client.inbox.inbox import Inbox
from morag_client.inbox.lanes import Grant
from morag_client.inbox.queries import Queries
from morag_client.inbox.sessions import LaneLost, Sessions

PAY = text("INSERT INTO payments (amount) VALUES (1)")


@pytest.fixture
def payments(inbox: Inbox, database: databases.TestDatabase) -> Callable[[], int]:
    """How many there are by now, as somebody else sees it."""
    database.execute("CREATE TABLE payments (amount INTEGER NOT NULL)")
    return lambda: database.query("SELECT count(*) FROM payments")[0][0]


@pytest.fixture
async def ann(inbox: Inbox) -> Worker:
    worker = Worker(inbox, "ann")
    await worker.beat()
    return worker


@pytest.fixture
def sessions(ann: Worker) -> Sessions:
    return Sessions(ann.inbox.database, ann.ownership.settling)


@pytest.fixture
async def grant(ann: Worker) -> Grant:
    [record_id] = await stored(ann.inbox, "a")
    return await ann.claim_one(record_id)


async def handle(
    sessions: Sessions, grant: Grant, work: Callable[[AsyncSession], Awaitable[object]], *, handler: str = "pay"
) -> None:
    """Runs a handler's work in a transaction, as the engine does."""
    async with sessions.transaction() as transaction:
        await work(transaction.session)
        await transaction.finish(
            record_id=grant.records[0].record_id, lane=grant.lane, epoch=grant.epoch, run=run(handler)
        )


async def pay(session: AsyncSession) -> None:
    await session.execute(PAY)


async def runs(inbox: Inbox, record_id: int = 1) -> dict[str, str]:
    return {one.handler: one.state for one in (await Queries(inbox).get(record_id)).runs}


async def test_the_effect_and_the_outcome_are_committed_together(
    inbox: Inbox, sessions: Sessions, grant: Grant, payments: Callable[[], int]
) -> None:
    async def work(session: AsyncSession) -> None:
        await session.execute(PAY)
        assert payments() == 0

    await handle(sessions, grant, work)

    assert payments() == 1
    assert await runs(inbox) == {"pay": "succeeded"}


async def test_a_handler_that_writes_nothing_has_an_outcome_too(inbox: Inbox, sessions: Sessions, grant: Grant) -> None:
    async def work(session: AsyncSession) -> None:
        """Nothing to do."""

    await handle(sessions, grant, work)

    assert await runs(inbox) == {"pay": "succeeded"}


async def test_behind_a_lost_fence_all_is_undone(
    inbox: Inbox, ann: Worker, sessions: Sessions, grant: Grant, payments: Callable[[], int]
) -> None:
    bob = Worker(inbox, "bob")
    await bob.beat()

    await ann.shift(-LEASE - 5)
    assert await bob.claim_one(1) is not None
    with pytest.raises(LaneLost):
        await handle(sessions, grant, pay)

    assert payments() == 0
    assert await runs(inbox) == {}


async def test_the_fence_holds_until_the_commit(
    database: databases.TestDatabase, inbox: Inbox, ann: Worker, sessions: Sessions, grant: Grant
) -> None:
    if database.kind == "sqlite":
        pytest.skip("where only one writes at a time, nobody can take the task meanwhile")
    bob = Worker(inbox, "bob")
    await bob.beat()
    await ann.shift(-LEASE - 5)
    async with sessions.transaction() as transaction:
        session = transaction.session
        connection = await session.connection()
        assert await connection.run_sync(lambda one: ann.ownership.settling.is_mine(one, grant.lane, grant.epoch))
        taking = asyncio.create_task(bob.claim_one(1))
        await asyncio.sleep(0.3)

        assert not taking.done()
        await transaction.finish(record_id=1, lane=grant.lane, epoch=grant.epoch, run=run("pay"))

    assert [one.handler for one in (await taking).records[0].runs] == ["pay"]


async def test_what_is_raised_rolls_back(
    inbox: Inbox, sessions: Sessions, grant: Grant, payments: Callable[[], int]
) -> None:
    async def work(session: AsyncSession) -> None:
        await session.execute(PAY)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await handle(sessions, grant, work)

    assert payments() == 0
    assert await runs(inbox) == {}
    assert (await inboxes.record(inbox, deliveries.task_body())).is_new


async def commit_the_session(session: AsyncSession) -> None:
    await session.commit()


async def commit_the_connection(session: AsyncSession) -> None:
    await (await session.connection()).commit()


@pytest.mark.parametrize("commit", [commit_the_session, commit_the_connection])
async def test_a_commit_by_the_handler_is_an_error_that_says_why(
    inbox: Inbox,
    sessions: Sessions,
    grant: Grant,
    payments: Callable[[], int],
    commit: Callable[[AsyncSession], Awaitable[None]],
) -> None:
    async def work(session: AsyncSession) -> None:
        await session.execute(PAY)
        await commit(session)

    with pytest.raises(RuntimeError, match=r"does not commit its session.*begin_nested"):
        await handle(sessions, grant, work)

    assert payments() == 0
    assert await runs(inbox) == {}
    await handle(sessions, grant, pay)  # on the same connection
    assert payments() == 1


async def test_a_commit_whose_error_is_swallowed_is_no_success(
    inbox: Inbox, sessions: Sessions, grant: Grant, payments: Callable[[], int]
) -> None:
    async def work(session: AsyncSession) -> None:
        await session.execute(PAY)
        with contextlib.suppress(RuntimeError):
            await session.commit()
        await session.rollback()
        await session.execute(PAY)

    with pytest.raises(RuntimeError, match="does not commit its session"):
        await handle(sessions, grant, work)

    assert payments() == 0
    assert await runs(inbox) == {}


async def test_a_part_of_its_own_can_be_undone(
    inbox: Inbox, sessions: Sessions, grant: Grant, payments: Callable[[], int]
) -> None:
    async def work(session: AsyncSession) -> None:
        await session.execute(PAY)
        part = await session.begin_nested()
        await session.execute(PAY)
        await part.rollback()
        async with session.begin_nested():
            await session.execute(PAY)

    await handle(sessions, grant, work)

    assert payments() == 2


async def test_a_cancelled_handler_leaves_nothing_and_lets_others_write(
    inbox: Inbox, sessions: Sessions, grant: Grant, payments: Callable[[], int]
) -> None:
    async def work(session: AsyncSession) -> None:
        await session.execute(PAY)
        await asyncio.sleep(60)

    handling = asyncio.create_task(handle(sessions, grant, work))
    await asyncio.sleep(0.2)
    handling.cancel()
    await asyncio.wait([handling])

    assert handling.cancelled()
    assert (await inboxes.record(inbox, deliveries.task_body())).is_new
    assert payments() == 0


async def test_many_at_once_all_get_their_turn(
    inbox: Inbox, ann: Worker, sessions: Sessions, payments: Callable[[], int]
) -> None:
    ids = await stored(inbox, *(f"task-{number}" for number in range(40)))
    grants = await ann.claim(*ids)

    deliveries_too = [inboxes.record(inbox, deliveries.task_body()) for _ in range(40)]
    await asyncio.gather(*(handle(sessions, grant, pay) for grant in grants.values()), *deliveries_too)

    assert payments() == 40
    assert all([await runs(inbox, record_id) == {"pay": "succeeded"} for record_id in ids])


async def test_an_idle_transaction_does_not_hold_up_deliveries_for_long(
    database: databases.TestDatabase,
    inbox: Inbox,
    sessions: Sessions,
    grant: Grant,
    payments: Callable[[], int],
) -> None:
    async def work(session: AsyncSession) -> None:
        await session.execute(PAY)
        await asyncio.sleep(1.6)

    handling = asyncio.create_task(handle(sessions, grant, work))
    await asyncio.sleep(0.1)
    began = time.monotonic()

    assert (await inboxes.record(inbox, deliveries.task_body())).is_new

    if database.kind == "sqlite":
        assert 0.5 < time.monotonic() - began < 1.5
        with pytest.raises(TimeoutError, match=r"more than 1 s; on SQLite every delivery waits"):
            await handling
        assert (payments(), await runs(inbox)) == (0, {})
    else:
        assert time.monotonic() - began < 0.5
        await handling
        assert (payments(), await runs(inbox)) == (1, {"pay": "succeeded"})


async def test_slow_work_before_the_first_statement_holds_up_nobody(
    inbox: Inbox, sessions: Sessions, grant: Grant, payments: Callable[[], int]
) -> None:
    async def work(session: AsyncSession) -> None:
        await asyncio.sleep(1.2)
        await session.execute(PAY)

    handling = asyncio.create_task(handle(sessions, grant, work))
    await asyncio.sleep(0.1)
    began = time.monotonic()

    await inboxes.record(inbox, deliveries.task_body())

    assert time.monotonic() - began < 0.5
    await handling
    assert payments() == 1
