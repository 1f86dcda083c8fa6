"""Live progress on every database: what whoever joins is told first, and what is told then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import deliveries
import pytest
from receiving import send, until

from morag_client import Receiver, Registry, RetryPolicy
from morag_client.inbox.rows import now
from morag_client.progress.history import History
from morag_client.progress.scopes import Scope, make_scope
from morag_client.wire.delivery import Delivery

KEY = "a long random text for tests"
URL = "https://app.example.com"


@pytest.fixture(params=["with handlers", "without handlers"])
async def receiver(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[Receiver]:
    registry = Registry()
    if request.param == "with handlers":
        registry.on("*", name="index")(lambda event: None)
    receiver = Receiver(
        registry=registry,
        secrets=deliveries.SECRET,
        signing_key=KEY,
        public_url=URL,
        database_url=database_url,
        retry=RetryPolicy(attempts=1),
    )
    async with receiver.lifespan():
        yield receiver


async def told(receiver: Receiver, scope: Scope) -> list[str | None]:
    """The tasks whose last states somebody is told who joins now."""
    runtime = await receiver._lifecycle.runtime()
    return [update.state.task_id for update in await runtime.live.last(scope)]


async def post(receiver: Receiver, body: bytes, **ids: str) -> None:
    await receiver.receive(Delivery(body=body, token=receiver.webhook_url(**ids).rpartition("/")[2]))


async def test_whoever_joins_is_told_what_its_scope_means(receiver: Receiver) -> None:
    await send(receiver, deliveries.step_body("a", document_id="doc-1"), deliveries.step_body("b", document_id="doc-2"))
    await post(receiver, deliveries.task_body("c"), user="7", page="1")
    await post(receiver, deliveries.task_body("d"), user="77", page="1")
    await send(receiver, deliveries.task_body("a", "completed", result={"chunks_processed": 3}))
    await receiver.idle()

    assert await told(receiver, make_scope(all=True)) == ["b", "c", "d", "a"]
    assert await told(receiver, make_scope(all=True, tenant="acme")) == []
    assert await told(receiver, make_scope(task="c")) == ["c"]
    assert await told(receiver, make_scope(task="nobody's")) == []
    assert await told(receiver, make_scope(document="doc-2")) == ["b"]
    assert await told(receiver, make_scope(correlation={"user": 7})) == ["c"]
    assert await told(receiver, make_scope(correlation={"page": 1})) == ["c", "d"]
    assert await told(receiver, make_scope(correlation={"user": 7, "page": 2})) == []
    assert await told(receiver, make_scope(correlation={'us"er': '7"'})) == []
    runtime = await receiver._lifecycle.runtime()
    (last,) = await runtime.live.last(make_scope(task="a"))
    assert last.message["result"] == {"chunks_processed": 3}


async def test_everything_that_is_told_is_stored_and_in_order(receiver: Receiver) -> None:
    runtime = await receiver._lifecycle.runtime()
    sequences: dict[str | None, list[int]] = {}
    are_known: list[bool] = []

    async def follow() -> None:
        async for update in runtime.live.follow(make_scope(all=True)):
            sequences.setdefault(update.state.task_id, []).append(update.sequence)
            are_known.append((await receiver.tasks.get(update.state.task_id)).sequence >= update.sequence)

    following = asyncio.create_task(follow())
    await until(lambda: runtime.live.feed.has_listeners)
    for number in range(10):
        await send(receiver, *(deliveries.step_body(task, f"step-{number}") for task in "abc"))
        if number == 0:  # from here on nothing is part of the last states
            await until(lambda: len(sequences) == 3)
    await until(lambda: [each[-1:] for each in sequences.values()] == [[10]] * 3)
    following.cancel()

    assert sequences == {task: list(range(1, 11)) for task in "abc"}
    assert all(are_known)


async def test_what_changed_since_a_moment(receiver: Receiver) -> None:
    if not receiver.handler_names:
        pytest.skip("nothing is projected into the database")
    await send(receiver, deliveries.task_body("a"))
    await receiver.idle()
    moment = now()
    await send(receiver, deliveries.task_body("b"))
    await receiver.idle()
    history = History((await receiver._lifecycle.runtime()).inbox)

    assert [update.state.task_id for update in await history.changed_since(moment)] == ["b"]
    everything = await history.changed_since(moment - timedelta(seconds=60))
    assert [update.state.task_id for update in everything] == ["a", "b"]
    assert {state.task_id for state in (await history.states_of([update.key for update in everything])).values()} == {
        "a",
        "b",
    }
    assert len(await history.heartbeats()) == 1
