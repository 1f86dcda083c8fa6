"""A worker's signs of life, and what is to be looked after now and then."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from morag_client.errors import InboxError
from morag_client.inbox.database import DriverError
from morag_client.inbox.ownership import Ownership

logger = logging.getLogger("morag_client.processing")


class Heart:
    """Beats three times in a lease (seconds), so that nobody takes over a worker that is alive.

    `handlers` are the names of those that exist here; `on_adopted` is told when runs of theirs wait again.
    """

    def __init__(
        self,
        ownership: Ownership,
        *,
        lease: float,
        hostname: str,
        pid: int,
        handlers: Callable[[], Sequence[str]],
        on_adopted: Callable[[], None],
    ) -> None:
        self._ownership = ownership
        self._lease = lease
        self._hostname = hostname
        self._pid = pid
        self._handlers = handlers
        self._on_adopted = on_adopted
        self._beating: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Beats for the first time. Raises InboxUnavailable."""
        await self._beat()
        self._beating = asyncio.create_task(self._keep_beating(), name="morag-heart")

    async def stop(self) -> None:
        """Beats no more."""
        if self._beating is None:
            return
        if not self._beating.cancelling():
            self._beating.cancel()
        await asyncio.wait([self._beating])

    async def _keep_beating(self) -> None:
        await self._quietly(self._adopt)
        while True:
            await asyncio.sleep(self._lease / 3)
            await self._quietly(self._beat, self._ownership.mend_schedule, self._ownership.forget_the_dead, self._adopt)

    async def _quietly(self, *steps: Callable[[], Awaitable[None]]) -> None:
        try:
            for step in steps:
                await step()
        except (DriverError, InboxError, OSError) as error:
            logger.warning("this worker could not say that it is alive: %s", error)

    async def _adopt(self) -> None:
        if await self._ownership.adopt(self._handlers()):
            self._on_adopted()

    async def _beat(self) -> None:
        await self._ownership.beat(hostname=self._hostname, pid=self._pid)
