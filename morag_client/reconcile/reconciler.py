"""Rounds of one process, and of one process at a time."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

from morag_client.errors import AlreadyReconciling, InboxUnavailable
from morag_client.inbox.inbox import Inbox
from morag_client.inbox.leases import Held, Lease
from morag_client.reconcile.asking import Asked
from morag_client.reconcile.patience import Patience
from morag_client.reconcile.report import Report
from morag_client.reconcile.round import Round, Wanted

LEASE: Final = "reconcile"
_POLL: Final = 0.25

logger = logging.getLogger("morag_client.reconcile")


class Reconciler:
    """Asks `client` and stores into `inbox`; one process at a time, by a lease of `lease` seconds.

    `on_progress(done, total)` is told of each task. Everything here raises InboxUnavailable.
    """

    def __init__(
        self,
        inbox: Inbox,
        client: Asked,
        *,
        clock: Callable[[], datetime],
        lease: float = 30.0,
        on_progress: Callable[[int, int], None] = lambda *_: None,
    ) -> None:
        self._inbox = inbox
        self._client = client
        self._clock = clock
        self._seconds = lease
        self._lease = Lease(inbox.database, LEASE, owner=uuid.uuid4().hex, seconds=lease)
        self._on_progress = on_progress
        self._at_work = asyncio.Lock()
        self._patience = Patience()

    async def begin(self) -> None:
        """Marks the moment from which on what MoRAG lists may be ours, where nobody has yet."""
        await self._lease.note()

    async def run(self, wanted: Wanted) -> Report:
        """Asks now. Raises AlreadyReconciling where another process is at it for longer than a lease."""
        async with self._at_work:
            deadline = asyncio.get_running_loop().time() + self._seconds + 1.0
            while (held := await self._lease.take()) is None:
                if asyncio.get_running_loop().time() > deadline:
                    raise AlreadyReconciling("another process is reconciling this inbox; try again when it is through")
                await asyncio.sleep(_POLL)
            return await self._held(held, wanted, all_at_once=True)

    async def run_if_due(self, wanted: Wanted, *, every: float) -> Report | None:
        """Asks, unless another process is at it or was within `every` seconds; None then.

        Tasks that have been silent for long are not asked about each time.
        """
        async with self._at_work:
            held = await self._lease.take(every=every)
            return None if held is None else await self._held(held, wanted, all_at_once=False)

    async def _held(self, held: Held, wanted: Wanted, *, all_at_once: bool) -> Report:
        is_done = False
        try:
            async with self._renewed():
                this = Round(self._inbox, self._client, wanted, held=held, patience=self._patience)
                report = await this.run(now=self._clock(), on_progress=self._on_progress, all_at_once=all_at_once)
            is_done = not wanted.dry_run
            return report
        finally:
            # Also where we are cancelled: or the next one waits for the lease's end.
            await _surely(self._lease.give_back(is_done=is_done))

    @asynccontextmanager
    async def _renewed(self) -> AsyncIterator[None]:
        """Keeps the lease meanwhile. Two at once would do no harm: they make the same records."""

        async def keep() -> None:
            while True:
                await asyncio.sleep(self._seconds / 3)
                try:
                    await self._lease.renew()
                except InboxUnavailable as error:
                    logger.warning("the lease could not be renewed: %s", error)

        keeping = asyncio.create_task(keep(), name="morag-reconcile-lease")
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])


async def _surely(work: Any) -> None:
    """Ends what was begun, also where we are cancelled meanwhile; the database's absence is told."""
    ending = asyncio.ensure_future(work)
    try:
        await asyncio.shield(ending)
    except asyncio.CancelledError:
        await asyncio.wait([ending], timeout=1.0)
        raise
    except InboxUnavailable as error:
        logger.warning("the lease of reconciling could not be given back, it ends by itself: %s", error)
