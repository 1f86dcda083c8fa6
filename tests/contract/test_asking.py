"""What cannot be is said by us, in the same words on every database, and not by the database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import databases
import pytest

from morag_client import Receiver, Registry
from morag_client.errors import ConfigurationError


@pytest.fixture
async def receiver(database: databases.TestDatabase) -> AsyncIterator[Receiver]:
    receiver = Receiver(registry=Registry(), database_url=database.url, secrets="a secret of tests")
    async with receiver.lifespan():
        yield receiver


@pytest.mark.parametrize("limit", [-1, 0, 2**63, 2**200])
async def test_a_limit_that_cannot_be(receiver: Receiver, limit: int) -> None:
    for listing in (receiver.events, receiver.tasks, receiver.dead_letters, receiver.quarantine, receiver.audit):
        with pytest.raises(ConfigurationError, match="limit= is how many"):
            await listing.list(limit=limit)
        assert await listing.list(limit=10**9) == []
    with pytest.raises(ConfigurationError, match="limit= is how many"):
        await receiver.tasks.events("a", limit=limit)


@pytest.mark.parametrize(
    ("listing", "filters"),
    [
        ("events", {"state": "done"}),
        ("events", {"state": "fail\0ed"}),
        ("events", {"task_id": "a\0"}),
        ("events", {"task_id": "\ud800"}),
        ("events", {"name": "task.\0"}),
        ("tasks", {"state": "handled"}),
        ("tasks", {"document_id": "a\0"}),
        ("tasks", {"tenant": "\0"}),
        ("dead_letters", {"handler": "a\0"}),
        ("dead_letters", {"task_id": "a\0"}),
        ("dead_letters", {"name": "\0"}),
    ],
)
async def test_what_is_stored_nowhere(receiver: Receiver, listing: str, filters: dict[str, Any]) -> None:
    assert await getattr(receiver, listing).list() == []

    with pytest.raises(ConfigurationError):
        await getattr(receiver, listing).list(**filters)


@pytest.mark.parametrize("criteria", [{"task_id": "a\0"}, {"name": "\0"}, {"name": "*", "handler": "\0"}])
async def test_what_is_replayed_of_it(receiver: Receiver, criteria: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="stored nowhere"):
        await receiver.replay(**criteria)
