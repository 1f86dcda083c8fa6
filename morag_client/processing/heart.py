"""A worker's signs of life, and what is to be looked after now and then."""

from __future__ import annotations

import asyncio
import logging

from morag_client.errors import InboxError
from morag_client.inbox.database import DriverError
from morag_client.inbox.ownership import Ownership

logger = logging.getLogger("morag_client.processing")


class Heart:
    """Beats three times in a lease (seconds), so that nobody takes over a worker that is alive."""

    def __init__(self, ownership: Ownership, *, lease: float, hostname: str, pid: int) -> None:
        self._ownership = ownership
        self._lease = lease
        self._hostname = hostname
        self._pid = pid
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
        while True:
            await asyncio.sleep(self._lease / 3)
            try:
                await self._beat()
                await self._ownership.mend_schedule()
                await self._ownership.forget_the_dead()
            except (DriverError, InboxError, OSError) as error:
                logger.warning("this worker could not say that it is alive: %s", error)

    async def _beat(self) -> None:
        await self._ownership.beat(hostname=self._hostname, pid=self._pid)
