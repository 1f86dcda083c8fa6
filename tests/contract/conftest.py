"""Every test here holds for every database; another is another parameter."""

from __future__ import annotations

from collections.abc import AsyncIterator

import databases
import inboxes
import pytest

from morag_client.inbox.inbox import Inbox


@pytest.fixture
def database_url(database: databases.TestDatabase) -> str:
    return database.url


@pytest.fixture
async def inbox(database_url: str) -> AsyncIterator[Inbox]:
    async with inboxes.opened(database_url) as opened:
        yield opened
