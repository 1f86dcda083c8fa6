"""The feed: between the last states and what comes then there is no gap, and nothing comes twice or backwards."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from morag_client import InboxUnavailable
from morag_client.inbox.rows import now
from morag_client.progress.feed import Feed, Listener
from morag_client.progress.scopes import Scope, make_scope
from morag_client.progress.state import TaskState
from morag_client.progress.updates import Update, decode, encode, last_state, update_of
from morag_client.wire.identity import task_key

ALL = make_scope(all=True)


def update(sequence: int, task: str = "1", **fields: str) -> Update:
    """Each of another step, so that none is mere progress."""
    key = task_key(tenant="", task_id=task) or b""
    state = TaskState(task, "", sequence=sequence, state="running", **fields)
    step = f"step-{sequence}"
    return update_of(key, state, {"name": f"{step}.started", "step": step}, received_at=now())


class Somebody(Listener):
    def __init__(self) -> None:
        super().__init__(lambda update: self.told.append((update.state.task_id, update.sequence)))
        self.told: list[tuple[str | None, int]] = []


class Stored:
    """What would be read from the database, when the test lets it."""

    def __init__(self) -> None:
        self.updates: list[Update] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.reads = 0

    async def last(self, scope: Scope) -> Sequence[Update]:
        self.reads += 1
        found = [one for one in self.updates if scope.matches(one.key, one.state)]
        await self.may_answer.wait()
        return found


async def test_the_last_states_come_first_then_what_came_meanwhile_and_is_newer() -> None:
    stored, somebody = Stored(), Somebody()
    stored.updates, feed = [update(5)], Feed(last=stored.last)
    stored.may_answer.clear()
    joining = asyncio.create_task(feed.join(somebody, ALL))
    await asyncio.sleep(0.01)
    for one in (update(4), update(5), update(6), update(1, "2")):
        feed.publish(one)
    assert somebody.told == []

    stored.may_answer.set()
    await joining
    feed.publish(update(7))

    assert somebody.told == [("1", 5), ("1", 6), ("2", 1), ("1", 7)]


async def test_what_was_stored_before_the_joining_and_is_told_after_it_is_not_told_twice() -> None:
    stored, early, late = Stored(), Somebody(), Somebody()
    feed = Feed(last=stored.last)
    await feed.join(early, ALL)
    stored.updates = [update(3)]
    await feed.join(late, ALL)

    feed.publish(update(3))
    feed.publish(update(4))

    assert early.told == [("1", 3), ("1", 4)]
    assert late.told == [("1", 3), ("1", 4)]


async def test_what_comes_by_two_ways_is_told_once() -> None:
    stored, somebody = Stored(), Somebody()
    feed = Feed(last=stored.last)
    await feed.join(somebody, ALL)

    for one in (update(1), update(3), update(2), update(3), update(4)):
        feed.publish_here(one)

    assert somebody.told == [("1", 1), ("1", 3), ("1", 4)]


async def test_those_who_join_at_once_share_a_read_that_begins_after_all_of_them() -> None:
    stored, crowd = Stored(), [Somebody() for _ in range(50)]
    feed = Feed(last=stored.last)
    stored.may_answer.clear()
    first = asyncio.create_task(feed.join(crowd[0], ALL))
    await asyncio.sleep(0.01)
    others = [asyncio.create_task(feed.join(one, ALL)) for one in crowd[1:]]
    stored.updates = [update(1)]
    stored.may_answer.set()
    await asyncio.gather(first, *others)

    # the first one's read is older than the others' joining, so that they have another
    assert stored.reads == 2
    assert [one.told for one in crowd] == [[]] + [[("1", 1)]] * 49


async def test_whoever_cannot_join_is_not_told() -> None:
    async def last(_: Scope) -> Sequence[Update]:
        raise InboxUnavailable("away")

    feed, somebody = Feed(last=last), Somebody()
    with pytest.raises(InboxUnavailable):
        await feed.join(somebody, ALL)
    feed.publish(update(1))

    assert somebody.told == []
    assert not feed.wants_updates


async def test_each_is_told_once_by_however_many_scopes() -> None:
    feed, somebody, other = Feed(last=Stored().last), Somebody(), Somebody()
    for scope in (ALL, make_scope(task="1"), make_scope(document="d")):
        await feed.join(somebody, scope)
    await feed.join(other, make_scope(task="2"))

    feed.publish(update(1, document_id="d"))
    feed.leave(somebody, ALL)
    feed.publish(update(2, document_id="d"))
    feed.leave(somebody, make_scope(task="1"))
    feed.leave(somebody, make_scope(document="d"))
    feed.publish(update(3, document_id="d"))
    feed.publish(update(1, "2"))

    assert somebody.told == [("1", 1), ("1", 2)]
    assert other.told == [("2", 1)]


async def test_nothing_is_kept_of_who_has_left() -> None:
    feed, somebody = Feed(last=Stored().last), Somebody()
    scopes = [ALL, make_scope(task="1"), make_scope(document="d"), make_scope(correlation={"a": "1", "b": "2"})]
    for scope in scopes:
        await feed.join(somebody, scope)
    for scope in scopes:
        feed.leave(somebody, scope)

    assert not feed.has_listeners
    assert feed._audience._by_id == {}


async def test_progress_that_waited_is_told_in_its_time() -> None:
    feed, somebody = Feed(last=Stored().last), Somebody()
    await feed.join(somebody, ALL)
    key = task_key(tenant="", task_id="1") or b""
    for sequence in range(1, 20):
        state = TaskState("1", "", sequence=sequence, state="running", progress=float(sequence))
        feed.publish(update_of(key, state, {"name": "chunking.started", "step": "chunking"}, received_at=now()))

    assert somebody.told == [("1", 1)]
    await asyncio.sleep(0.2)
    assert somebody.told == [("1", 1), ("1", 19)]


def test_an_update_for_another_process() -> None:
    one = update(3, document_id="d", message="words")

    other = decode(encode(one))

    assert (other.key, other.state, other.message, other.is_late) == (one.key, one.state, dict(one.message), False)


@pytest.mark.parametrize("text", [b"", b"again", b"{}", b"[]", b'{"key": "zz"}', b'{"key": "00", "state": {}}'])
def test_what_is_no_update(text: bytes) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        decode(text)


def test_a_state_without_a_time_has_a_message_too() -> None:
    message = last_state(b"key", TaskState("1", "")).message

    assert (message["timestamp"], message["progress_percent"], message["message"]) == (None, 0.0, "unknown")
