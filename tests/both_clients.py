"""One test for both clients: what is called is the same, awaited or not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Literal

from morag_client import AsyncMoragClient, MoragClient

Kind = Literal["sync", "async"]
KINDS: tuple[Kind, ...] = ("sync", "async")


def calling(kind: Kind, url: str, do: Callable[[Any], Any], **options: Any) -> Any:
    """What a call gives: `calling("async", url, lambda client: client.status("t"))`."""
    if kind == "sync":
        with MoragClient(base_url=url, **options) as client:
            return do(client)

    async def awaited() -> Any:
        async with AsyncMoragClient(base_url=url, **options) as client:
            return await do(client)

    return asyncio.run(awaited())
