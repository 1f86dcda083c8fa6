"""Handlers with a session: what they write counts exactly once, and none of them holds up deliveries for long."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import databases
import deliveries
import pytest
import receiving
import servers
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from morag_client import Context, Event, Receiver, Registry, RetryPolicy

BOOK = text("INSERT INTO bookings VALUES (1)")
NUMBERS = "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 100000000)"
COUNT = text(NUMBERS + " SELECT max(n) FROM numbers")  # noqa: S608
LIST = text(NUMBERS + " SELECT n FROM numbers")  # noqa: S608

Handle = Callable[[AsyncSession, Context], Awaitable[Any]]


@pytest.fixture(autouse=True)
def bookings(database: databases.TestDatabase) -> None:
    database.execute("CREATE TABLE bookings (number INTEGER NOT NULL)")


@contextlib.contextmanager
def serving(database: databases.TestDatabase, *handlers: Handle, attempts: int = 3) -> Iterator[str]:
    """The URL of a receiver with these handlers of `task.started`, whose attempts follow on each other."""
    registry = Registry()

    def register(handle: Handle) -> None:
        @registry.on("task.started", name=handle.__name__)
        async def call(event: Event, context: Context, session: AsyncSession) -> None:
            await handle(session, context)

    for handle in handlers:
        register(handle)
    receiver = Receiver(
        registry=registry,
        secrets=deliveries.SECRET,
        database_url=database.url,
        retry=RetryPolicy(attempts=attempts, first=0, cap=0),
        lease=2.0,
    )
    with servers.serving(receiver) as url:
        yield url


def post(url: str, task_id: str = "a", status: str = "started") -> float:
    """How many seconds the answer took, which is 200."""
    body = deliveries.task_body(task_id, status)
    began = time.monotonic()
    answer = servers.exchange(url, servers.request_bytes(body, servers.signed(body)))
    assert answer is not None
    assert answer.status == 200
    return time.monotonic() - began


def until_settled(database: databases.TestDatabase) -> None:
    receiving.eventually(
        lambda: database.query("SELECT id FROM webhook_events WHERE state IN ('stored', 'retrying')") == []
    )


def booked(database: databases.TestDatabase) -> int:
    return database.query("SELECT count(*) FROM bookings")[0][0]


def runs(database: databases.TestDatabase) -> dict[str, tuple[str, int]]:
    rows = database.query("SELECT handler, state, attempts FROM webhook_handler_runs")
    return {handler: (state, attempts) for handler, state, attempts in rows}


def error(database: databases.TestDatabase) -> str:
    [(found,)] = database.query("SELECT error FROM webhook_handler_runs WHERE error IS NOT NULL")
    return found


def test_an_exception_undoes_it_and_the_next_attempt_counts(database: databases.TestDatabase) -> None:
    async def pay(session: AsyncSession, context: Context) -> None:
        await session.execute(BOOK)
        if context.attempt < 3:
            raise ConnectionError("the bank hung up")

    with serving(database, pay) as url:
        post(url)
        until_settled(database)

    assert booked(database) == 1
    assert runs(database) == {"pay": ("succeeded", 3)}


def test_each_handler_has_a_transaction_of_its_own(database: databases.TestDatabase) -> None:
    async def pay(session: AsyncSession, context: Context) -> None:
        await session.execute(BOOK)

    async def fail(session: AsyncSession, context: Context) -> None:
        await session.execute(BOOK)
        raise ConnectionError("the bank hung up")

    with serving(database, pay, fail) as url:
        post(url)
        until_settled(database)

    assert booked(database) == 1
    assert runs(database) == {"pay": ("succeeded", 1), "fail": ("failed", 3)}


async def commit(session: AsyncSession, context: Context) -> None:
    await session.execute(BOOK)
    await session.commit()


async def commit_by_a_block(session: AsyncSession, context: Context) -> None:
    async with session.begin():
        await session.execute(BOOK)


async def commit_its_connection(session: AsyncSession, context: Context) -> None:
    await session.execute(BOOK)
    await (await session.connection()).commit()


@pytest.mark.parametrize("handle", [commit, commit_by_a_block, commit_its_connection])
def test_a_commit_is_an_error_that_says_what_to_do(database: databases.TestDatabase, handle: Handle) -> None:
    with serving(database, handle, attempts=1) as url:
        post(url)
        until_settled(database)

    assert booked(database) == 0
    assert runs(database) == {handle.__name__: ("failed", 1)}
    assert "a handler does not commit its session" in error(database)
    assert "session.begin_nested()" in error(database)


def test_a_session_that_was_closed_is_no_success(database: databases.TestDatabase) -> None:
    async def close(session: AsyncSession, context: Context) -> None:
        async with session:
            await session.execute(BOOK)

    with serving(database, close, attempts=1) as url:
        post(url)
        until_settled(database)

    assert booked(database) == 0
    assert runs(database) == {"close": ("failed", 1)}
    assert "closed" in error(database)


def test_savepoints_undo_a_part(database: databases.TestDatabase) -> None:
    async def pay(session: AsyncSession, context: Context) -> None:
        async with session.begin_nested():
            await session.execute(BOOK)
        with contextlib.suppress(Exception):
            async with session.begin_nested():
                await session.execute(BOOK)
                await session.execute(text("INSERT INTO nowhere VALUES (1)"))
        await session.execute(BOOK)

    with serving(database, pay) as url:
        post(url)
        until_settled(database)

    assert booked(database) == 2
    assert runs(database) == {"pay": ("succeeded", 1)}


def test_where_another_worker_took_over_all_is_undone(
    database: databases.TestDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    begun, taken = threading.Event(), threading.Event()

    async def pay(session: AsyncSession, context: Context) -> None:
        begun.set()
        await asyncio.to_thread(taken.wait, 10)
        await session.execute(BOOK)

    with serving(database, pay) as url, caplog.at_level(logging.WARNING):
        post(url)
        assert begun.wait(10)
        # given another worker that has taken over the task, and died
        database.execute("UPDATE webhook_tasks SET owner = 'somebody', epoch = epoch + 1")
        # when the handler ends
        taken.set()
        until_settled(database)

    # then it did so for nothing, and another time for the record
    assert "another worker took over while handler pay ran; what it did is undone" in caplog.messages
    assert booked(database) == 1
    assert runs(database) == {"pay": ("succeeded", 1)}


async def hold(session: AsyncSession, context: Context) -> None:
    await session.execute(BOOK)
    if context.attempt == 1:
        await asyncio.sleep(30)


async def ask_too_much(session: AsyncSession, context: Context) -> None:
    await session.execute(BOOK)
    if context.attempt == 1:
        await session.execute(COUNT)


async def read_on(session: AsyncSession, context: Context) -> None:
    await session.execute(BOOK)
    if context.attempt == 1:
        async for _ in await session.stream(LIST):
            await asyncio.sleep(0.1)


async def go_on_when_cancelled(session: AsyncSession, context: Context) -> None:
    await session.execute(BOOK)
    if context.attempt == 1:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(30)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("handle", [hold, ask_too_much, read_on, go_on_when_cancelled])
def test_on_sqlite_a_transaction_has_a_second(
    database: databases.TestDatabase, handle: Handle, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(database, handle) as url:
        post(url)
        deadline = time.monotonic() + 3
        slowest = 0.0
        while time.monotonic() < deadline:
            slowest = max(slowest, post(url, "other", "failed"))
        until_settled(database)

    assert slowest < 2
    assert booked(database) == 1
    assert runs(database) == {handle.__name__: ("succeeded", 2)}
    assert "the handler kept its transaction open for more than 1 s; on SQLite every delivery waits" in caplog.text


async def use_it_twice_at_once(session: AsyncSession, context: Context) -> None:
    if context.attempt == 1:
        await asyncio.gather(session.execute(BOOK), session.execute(BOOK))
        # Where a connection is at hand already, one only waits for the other.
        raise ConnectionError("the bank hung up")
    await session.execute(BOOK)


async def fail_beside_a_statement(session: AsyncSession, context: Context) -> None:
    async def fail() -> None:
        await asyncio.sleep(0.1)
        raise ConnectionError("the bank hung up")

    if context.attempt == 1:
        await asyncio.gather(session.execute(COUNT), fail())
    await session.execute(BOOK)


left_behind: set[asyncio.Task[None]] = set()


def leave_behind(work: Awaitable[None]) -> None:
    """Lets something go on after the handler, as a careless one does."""

    async def go_on() -> None:
        with contextlib.suppress(Exception):
            await work

    task = asyncio.create_task(go_on())
    left_behind.add(task)
    task.add_done_callback(left_behind.discard)


async def leave_a_task_behind(session: AsyncSession, context: Context) -> None:
    async def later() -> None:
        await asyncio.sleep(0.1)
        await session.execute(BOOK)
        await asyncio.sleep(600)

    await session.execute(BOOK)
    leave_behind(later())


async def fail_beside_a_busy_task(session: AsyncSession, context: Context) -> None:
    async def book() -> None:
        while True:
            await session.execute(BOOK)

    if context.attempt == 1:
        leave_behind(book())
        await asyncio.sleep(0.1)
        raise ConnectionError("the bank hung up")
    await session.execute(BOOK)


@pytest.mark.parametrize(
    "handle", [use_it_twice_at_once, fail_beside_a_statement, leave_a_task_behind, fail_beside_a_busy_task]
)
def test_a_session_in_several_tasks_holds_up_nobody(database: databases.TestDatabase, handle: Handle) -> None:
    with serving(database, handle) as url:
        post(url)
        deadline = time.monotonic() + 1
        slowest = 0.0
        while time.monotonic() < deadline:
            slowest = max(slowest, post(url, "other", "failed"))
        until_settled(database)
        assert not left_behind

    assert slowest < 1
    assert booked(database) == 1
    assert runs(database)[handle.__name__][0] == "succeeded"
