"""PostgreSQL that is away in every way a network knows: said in time, nothing lost, and over when it is over."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import databases
import deliveries
import inboxes
import proxies
import pytest
from sqlalchemy import Connection, text
from workers import Worker, run, stored

from morag_client.errors import InboxUnavailable
from morag_client.inbox import postgres_connections, sessions as sessions_module
from morag_client.inbox.inbox import Inbox
from morag_client.inbox.queries import Queries
from morag_client.inbox.sessions import Sessions

PATIENCE = 1.0
MODES = ["hang", "refuse", "reset", "deaf"]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[databases.TestDatabase]:
    with databases.fresh("postgres", tmp_path) as made:
        yield made


@pytest.fixture
def proxy(database: databases.TestDatabase) -> Iterator[proxies.Proxy]:
    with proxies.before(database.url) as made:
        yield made


@pytest.fixture
async def inbox(database: databases.TestDatabase, proxy: proxies.Proxy) -> AsyncIterator[Inbox]:
    async with inboxes.opened(proxy.through(database.url), commit_timeout=PATIENCE) as opened:
        yield opened


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nobody but the inbox has anything to say about it, and no task's error is lost."""
    yield
    assert {record.name for record in caplog.records if record.levelno >= logging.WARNING} <= {"morag_client.inbox"}


def ask(connection: Connection) -> int:
    return connection.execute(text("SELECT 1")).scalar_one()


async def read(inbox: Inbox) -> int:
    return await inbox.database.read(ask, patience=PATIENCE)


async def write(inbox: Inbox) -> int:
    return await inbox.database.write(ask, patience=PATIENCE)


async def record(inbox: Inbox, body: bytes | None = None) -> Any:
    return await inboxes.record(inbox, body or deliveries.task_body())


async def refused_in_time(*calls: Awaitable[object]) -> None:
    """All of them raise InboxUnavailable, within PATIENCE and half a second."""
    began = time.monotonic()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert time.monotonic() - began < PATIENCE + 0.5
    assert [type(result) for result in results] == [InboxUnavailable] * len(calls)


def statements_of(database: databases.TestDatabase) -> list[tuple[str, str]]:
    """What the inbox's connections are at, as the server sees it."""
    return database.query(
        "SELECT state, query FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("used", [True, False])
async def test_an_outage_is_said_in_time_and_over_when_it_is_over(
    inbox: Inbox, proxy: proxies.Proxy, mode: proxies.Mode, used: bool
) -> None:
    if used:
        await asyncio.gather(record(inbox), *(read(inbox) for _ in range(5)))

    proxy.set(mode)
    for _ in range(2):
        await refused_in_time(*(record(inbox) for _ in range(50)), read(inbox), write(inbox), inbox.ping())
    proxy.set("pass")

    assert (await record(inbox)).is_new
    # Each has a second, which as many as the machine has to make connections for at once would not keep.
    assert await asyncio.gather(*(read(inbox) for _ in range(10)), *(write(inbox) for _ in range(10))) == [1] * 20


@pytest.mark.parametrize("mode", MODES)
async def test_what_was_answered_is_stored_once_however_often_it_fails(
    database: databases.TestDatabase, inbox: Inbox, proxy: proxies.Proxy, mode: proxies.Mode
) -> None:
    answered: dict[bytes, int] = {}
    is_over = asyncio.Event()

    async def send() -> None:
        while not is_over.is_set():
            body = deliveries.task_body()
            while body not in answered and not is_over.is_set():
                with contextlib.suppress(InboxUnavailable):
                    answered[body] = (await record(inbox, body)).record_id

    senders = [asyncio.create_task(send()) for _ in range(20)]
    counts = []
    for _ in range(3):
        await asyncio.sleep(0.2)
        counts.append(len(answered))
        proxy.set(mode)
        await asyncio.sleep(1.3)
        proxy.set("pass")
        await asyncio.sleep(0.7)
    is_over.set()
    await asyncio.gather(*senders)

    assert counts == sorted(set(counts))  # it went on after each
    rows = database.query("SELECT id, body FROM webhook_events")
    found = {bytes(body): record_id for record_id, body in rows}
    assert len(found) == len(rows)
    assert answered.items() <= found.items()


async def test_what_is_over_soon_is_waited_for(inbox: Inbox, proxy: proxies.Proxy) -> None:
    await record(inbox)
    proxy.set("refuse")

    recording = [asyncio.create_task(record(inbox)) for _ in range(10)]
    await asyncio.sleep(0.4)
    proxy.set("pass")

    assert all(one.is_new for one in await asyncio.gather(*recording))


async def test_a_restart_of_the_server_is_not_noticed(database: databases.TestDatabase, inbox: Inbox) -> None:
    await asyncio.gather(record(inbox), *(read(inbox) for _ in range(12)))
    assert len(statements_of(database)) >= 11

    database.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await asyncio.sleep(0.1)

    assert (await record(inbox)).is_new
    assert await asyncio.gather(*(read(inbox) for _ in range(12)), *(write(inbox) for _ in range(12))) == [1] * 24


async def test_hung_reads_leave_no_connection_behind(
    database: databases.TestDatabase, inbox: Inbox, proxy: proxies.Proxy
) -> None:
    proxy.set("hang")
    for _ in range(2):
        await refused_in_time(*(read(inbox) for _ in range(30)))
    assert inbox.database.engine.pool.checkedout() == 0
    await asyncio.sleep(2.2)  # closing takes 2 s at most
    assert [task.get_name() for task in asyncio.all_tasks() if "farewell" in task.get_name()] == []
    proxy.set("pass")

    assert await asyncio.gather(*(read(inbox) for _ in range(30))) == [1] * 30
    await asyncio.sleep(0.2)
    assert len(statements_of(database)) <= 11
    assert proxy.connections <= 11


@pytest.mark.parametrize("first", [record, read, write])
async def test_connections_that_the_network_forgot_cost_one_answer_at_most(
    inbox: Inbox, proxy: proxies.Proxy, first: Callable[[Inbox], Awaitable[object]]
) -> None:
    await asyncio.gather(record(inbox), *(read(inbox) for _ in range(10)))

    proxy.strand()
    await refused_in_time(first(inbox))

    assert (await record(inbox)).is_new
    assert await asyncio.gather(*(read(inbox) for _ in range(20))) == [1] * 20


async def test_connections_that_the_network_forgot_while_they_were_idle_cost_none(
    inbox: Inbox, proxy: proxies.Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_connections, "IDLE_SECONDS", 0.1)
    await asyncio.gather(record(inbox), *(read(inbox) for _ in range(10)))

    proxy.strand()
    await asyncio.sleep(0.15)

    assert (await record(inbox)).is_new
    assert await asyncio.gather(*(read(inbox) for _ in range(20))) == [1] * 20


async def test_a_lock_on_the_server_is_no_pile_of_statements(
    database: databases.TestDatabase, proxy: proxies.Proxy
) -> None:
    async with inboxes.opened(database.url) as other, inboxes.opened(database.url, commit_timeout=PATIENCE) as inbox:
        await record(inbox)
        async with other.database.engine.begin() as connection:
            await connection.exec_driver_sql("LOCK TABLE webhook_events")
            for _ in range(3):
                await refused_in_time(record(inbox), *(Queries(inbox).newest(limit=1) for _ in range(5)))
            await asyncio.sleep(0.5)
            waiting = [query for state, query in statements_of(database) if state == "active"]
        assert waiting == []  # what is not waited for any more is cancelled

        assert (await record(inbox)).is_new
        assert len(await Queries(inbox).newest(limit=9)) >= 2


@pytest.mark.parametrize("mode", MODES)
async def test_closing_takes_no_longer_than_it_may(
    database: databases.TestDatabase, proxy: proxies.Proxy, mode: proxies.Mode
) -> None:
    inbox = Inbox(inboxes.locate(proxy.through(database.url)), commit_timeout=PATIENCE, on_stored=inboxes.nothing)
    await inbox.open()
    await asyncio.gather(record(inbox), *(read(inbox) for _ in range(10)))
    proxy.set(mode)
    hung = [asyncio.create_task(inbox.database.read(ask)) for _ in range(25)]
    hung.append(asyncio.create_task(record(inbox)))
    await asyncio.sleep(0.1)
    began = time.monotonic()

    await inbox.close()

    assert time.monotonic() - began < 8
    results = await asyncio.wait_for(asyncio.gather(*hung, return_exceptions=True), 0.5)
    assert {type(result) for result in results} == {InboxUnavailable}
    proxy.set("pass")
    await asyncio.sleep(0.2)
    assert statements_of(database) == []


async def test_opening_while_the_server_is_away_is_said_and_leaves_nothing_open(
    database: databases.TestDatabase, proxy: proxies.Proxy
) -> None:
    proxy.set("hang")
    began = time.monotonic()

    with pytest.raises(InboxUnavailable):
        async with inboxes.opened(proxy.through(database.url)):
            pass

    assert time.monotonic() - began < 10
    proxy.set("pass")
    async with inboxes.opened(proxy.through(database.url)) as inbox:
        assert (await record(inbox)).is_new


@pytest.mark.parametrize("mode", MODES)
async def test_a_handlers_transaction_that_hangs_lets_go_when_it_is_cancelled(
    database: databases.TestDatabase, inbox: Inbox, proxy: proxies.Proxy, mode: proxies.Mode
) -> None:
    database.execute("CREATE TABLE payments (amount INTEGER)")
    sessions = Sessions(inbox.database, Worker(inbox, "ann").ownership.settling)

    async def handle() -> None:
        async with sessions.transaction() as transaction:
            await transaction.session.execute(text("INSERT INTO payments VALUES (1)"))
            proxy.set(mode)
            await transaction.session.execute(text("INSERT INTO payments VALUES (2)"))

    began = time.monotonic()
    with contextlib.suppress(Exception):
        await asyncio.wait_for(handle(), PATIENCE)

    assert time.monotonic() - began < PATIENCE + 0.5
    proxy.set("pass")
    assert await read(inbox) == 1
    assert inbox.database.engine.pool.checkedout() == 0
    assert database.query("SELECT count(*) FROM payments") == [(0,)]


async def test_a_rollback_that_hangs_is_given_up(
    inbox: Inbox, proxy: proxies.Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions_module, "_CLOSE_SECONDS", 0.5)
    sessions = Sessions(inbox.database, Worker(inbox, "ann").ownership.settling)

    async def handle() -> None:
        async with sessions.transaction() as transaction:
            await transaction.session.execute(text("SELECT 1"))
            proxy.set("hang")
            raise ValueError("no")

    began = time.monotonic()
    with pytest.raises(ValueError, match="no"):
        await handle()

    assert time.monotonic() - began < 1.0
    await asyncio.sleep(0.1)
    assert inbox.database.engine.pool.checkedout() == 0


# A commit takes half a second, so that a network can fail in the middle of it.
SLOW_COMMIT = (
    "CREATE TABLE payments (amount INTEGER)",
    "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END $$",
    "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON payments INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()",
)


@pytest.mark.parametrize("mode", ["deaf", "hang"])
async def test_a_commit_whose_answer_is_lost_is_not_undone_by_the_failure_that_was_seen(
    database: databases.TestDatabase,
    inbox: Inbox,
    proxy: proxies.Proxy,
    monkeypatch: pytest.MonkeyPatch,
    mode: proxies.Mode,
) -> None:
    monkeypatch.setattr(sessions_module, "_FINISH_SECONDS", 1.0)
    database.execute(*SLOW_COMMIT)
    ann = Worker(inbox, "ann")
    await ann.beat()
    [record_id] = await stored(inbox, "a")
    grant = await ann.claim_one(record_id)
    sessions = Sessions(inbox.database, ann.ownership.settling)

    async def handle() -> None:
        async with sessions.transaction() as transaction:
            await transaction.session.execute(text("INSERT INTO payments VALUES (1)"))
            asyncio.get_running_loop().call_later(0.25, proxy.set, mode)
            await transaction.finish(record_id=record_id, lane=grant.lane, epoch=grant.epoch, run=run("pay"))

    began = time.monotonic()
    with pytest.raises(TimeoutError, match="did not commit within 1 s"):
        await handle()
    assert time.monotonic() - began < 1.5
    proxy.set("pass")
    failure = run("pay", "retrying", attempts=1, delay=1.0)
    assert await ann.settle(grant, record_id, failure, outcome="as_runs") == set()

    assert database.query("SELECT count(*) FROM payments") == [(1,)]
    handled = await Queries(inbox).get(record_id)
    assert (handled.state, [(one.handler, one.state) for one in handled.runs]) == ("handled", [("pay", "succeeded")])
