"""Every test here holds for every database; another is another parameter."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import inboxes
import pytest

from morag_client.inbox.inbox import Inbox


@pytest.fixture(params=["sqlite"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return {"sqlite": f"sqlite:///{tmp_path}/inbox.db"}[request.param]


@pytest.fixture
async def inbox(database_url: str) -> AsyncIterator[Inbox]:
    async with inboxes.opened(database_url) as opened:
        yield opened
