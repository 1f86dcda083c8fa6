"""When a handler is tried again: by the database's clock, wherever somebody has put that."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import inboxes
import pytest
from workers import run, settled, stored

from morag_client.inbox.inbox import Inbox
from morag_client.inbox.queries import Queries
from morag_client.inbox.schedule import mend_schedule, read_clock


async def due(inbox: Inbox, *, after: int = 0, limit: int = 9) -> Sequence[int]:
    return await Queries(inbox).due_ids(after=after, limit=limit)


async def shift_clock(inbox: Inbox, seconds: float) -> None:
    """Lets everything that was scheduled have been so by a clock that is set back by so much since."""
    await inboxes.run_sql(
        inbox,
        "UPDATE webhook_handler_runs SET"  # noqa: S608
        f" next_attempt_at = next_attempt_at + {seconds}, scheduled_at = scheduled_at + {seconds}",
    )


async def test_the_clock_is_the_databases(inbox: Inbox) -> None:
    assert abs(await read_clock(inbox.database) - datetime.now(UTC).timestamp()) < 5


async def test_what_is_due_comes_in_the_order_of_the_ids_each_once(inbox: Inbox) -> None:
    await stored(inbox, "a", "b", "c", None, "d")
    await settled(inbox, 4, "as_runs", run("x", "retrying", delay=0.0), run("y", "retrying", delay=-5.0))
    await settled(inbox, 1, "as_runs", run("x", "retrying", delay=60.0))
    await settled(inbox, 2, "as_runs", run("x", "retrying", delay=0.0), run("y", "retrying", delay=60.0))
    await settled(inbox, 3, "as_runs", run("x", "failed"), run("y"))

    assert await due(inbox) == [2, 4]
    assert await due(inbox, after=2) == [4]
    assert await due(inbox, limit=1) == [2]


async def test_what_waits_becomes_due(inbox: Inbox) -> None:
    await stored(inbox, "a")
    await settled(inbox, 1, "as_runs", run("x", "retrying", delay=0.4))

    assert await due(inbox) == []
    await asyncio.sleep(0.5)
    assert await due(inbox) == [1]


async def test_what_was_tried_again_is_not_due_any_more(inbox: Inbox) -> None:
    await stored(inbox, "a")
    await settled(inbox, 1, "as_runs", run("x", "retrying", delay=0.0))

    await settled(inbox, 1, "as_runs", run("x", attempts=2))

    assert await due(inbox) == []
    assert (await Queries(inbox).get(1)).state == "handled"


@pytest.mark.parametrize("delay", [0.0, 0.5])
async def test_a_clock_that_was_set_back_puts_nothing_off(inbox: Inbox, delay: float) -> None:
    await stored(inbox, "a", "b")
    await settled(inbox, 1, "as_runs", run("x", "retrying", delay=delay))
    await shift_clock(inbox, 3600)
    await settled(inbox, 2, "as_runs", run("x", "retrying", delay=60.0))
    assert await due(inbox) == []

    assert await mend_schedule(inbox.database) == 1

    await asyncio.sleep(delay + 0.05)
    assert await due(inbox) == [1]
    assert await mend_schedule(inbox.database) == 0
    [_, untouched] = await inboxes.rows_of(inbox, "runs", "record_id, next_attempt_at - scheduled_at AS delay")
    assert untouched.delay == pytest.approx(60.0)


async def test_a_clock_that_was_set_forward_does_not_wait(inbox: Inbox) -> None:
    await stored(inbox, "a")
    await settled(inbox, 1, "as_runs", run("x", "retrying", delay=60.0))

    await shift_clock(inbox, -3600)

    assert await mend_schedule(inbox.database) == 0
    assert await due(inbox) == [1]
