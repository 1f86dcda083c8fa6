"""What one process at a time does, by the database's clock."""

from __future__ import annotations

import asyncio

from inboxes import run_sql

from morag_client.inbox.inbox import Inbox
from morag_client.inbox.leases import Lease


def lease(inbox: Inbox, owner: str, *, seconds: float = 30.0) -> Lease:
    return Lease(inbox.database, "work", owner=owner, seconds=seconds)


async def passes(inbox: Inbox, seconds: float) -> None:
    """So much time, for what is written."""
    table = inbox.database.tables.leases.name
    await run_sql(inbox, f"UPDATE {table} SET until = until - {seconds}, done_at = done_at - {seconds}")  # noqa: S608


async def test_one_of_many_gets_it(inbox: Inbox) -> None:
    taken = await asyncio.gather(*(lease(inbox, f"w{number}").take() for number in range(8)))
    assert sum(held is not None for held in taken) == 1


async def test_who_has_it_keeps_it_until_it_is_given_back(inbox: Inbox) -> None:
    ann, bob = lease(inbox, "ann"), lease(inbox, "bob")
    first = await ann.take()
    assert first is not None
    assert await bob.take() is None
    assert await ann.renew()
    assert await ann.take() == first
    await ann.give_back(is_done=False)
    assert await bob.take() == first  # `since` is when anybody first had it


async def test_a_killed_owners_lease_ends(inbox: Inbox) -> None:
    ann, bob = lease(inbox, "ann"), lease(inbox, "bob")
    await ann.take()
    await passes(inbox, 29)
    assert await bob.take() is None
    await passes(inbox, 2)
    assert await bob.take() is not None
    assert not await ann.renew()
    await ann.give_back(is_done=True)
    assert await ann.take() is None  # it was no longer hers to give back


async def test_what_was_done_is_not_done_again_before_it_is_due(inbox: Inbox) -> None:
    ann, bob = lease(inbox, "ann"), lease(inbox, "bob")
    await ann.take()
    await ann.give_back(is_done=True)
    assert await bob.take(every=60) is None
    assert await ann.take(every=60) is None
    assert await bob.take() is not None  # who asks for it himself does not wait
    await bob.give_back(is_done=False)
    await passes(inbox, 61)
    assert await bob.take(every=60) is not None


async def test_a_clock_that_was_set_back_holds_nobody_up(inbox: Inbox) -> None:
    ann, bob = lease(inbox, "ann"), lease(inbox, "bob")
    await ann.take()
    await passes(inbox, -3600)
    assert await bob.take() is not None
    await bob.give_back(is_done=True)
    await passes(inbox, -3600)
    assert await ann.take(every=60) is not None
