"""What lives between a start and a stop, bound to one event loop."""

from __future__ import annotations

import asyncio
import math
import random
import uuid
from collections.abc import Callable
from typing import Any

from morag_client.config import Settings
from morag_client.handlers.dispatch import Dispatcher
from morag_client.handlers.retry import RetryPolicy
from morag_client.handlers.threads import HandlerThreads
from morag_client.inbox.database import DriverError, unavailable
from morag_client.inbox.inbox import Inbox
from morag_client.inbox.location import Location
from morag_client.inbox.ownership import Ownership
from morag_client.inbox.quarantining import QuarantineLimits
from morag_client.inbox.queries import Queries
from morag_client.inbox.rows import now
from morag_client.inbox.sessions import Sessions
from morag_client.processing.calling import Caller
from morag_client.processing.local_engine import LocalEngine
from morag_client.processing.running import Runner
from morag_client.processing.watchdog import Watchdog
from morag_client.receiver.live import Live
from morag_client.receiver.progress import ProgressGate
from morag_client.receiver.reconciling import Reconciling
from morag_client.reconcile.asking import Asked


class Runtime:
    """The inbox and the engine at work in one event loop. Without handlers there is no engine: records stay stored."""

    def __init__(
        self,
        *,
        settings: Settings,
        retry: RetryPolicy,
        location: Location,
        dispatcher: Dispatcher,
        gate: ProgressGate,
        receiver: Any,
        client: Asked | None = None,
        has_tenants: bool = False,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._settings = settings
        self._retry = retry
        self._dispatcher = dispatcher
        self._threads = HandlerThreads(size=settings.handler_threads)
        self.inbox = Inbox(
            location,
            prefix=settings.table_prefix,
            commit_timeout=settings.commit_timeout,
            on_stored=self._hand_over,
            quarantine_limits=QuarantineLimits(settings.quarantine_limit, settings.quarantine_bytes),
        )
        self.queries = Queries(self.inbox)
        self.live = Live(self.inbox, self.queries, settings=settings, gate=gate)
        self.reconciling = Reconciling(settings, self.inbox, client=client, has_tenants=has_tenants)
        self.engine: LocalEngine | None = None
        self._watchdog = Watchdog(dispatcher.codes)
        self._receiver = receiver

    async def start(self) -> None:
        """Opens the inbox and begins to work. Raises ConfigurationError or InboxUnavailable, leaving nothing open."""
        try:
            self._dispatcher.refresh()
            await self.inbox.open()
            self.reconciling.start()
            if self._dispatcher.handler_names:
                engine = self._make_engine()
                await engine.start()
                self.engine = engine
                self._watchdog.start()
            self.live.start(has_engine=self.engine is not None)
        except BaseException as error:
            await self.reconciling.stop()
            await self.inbox.close()
            if isinstance(error, DriverError):
                raise unavailable(error) from error
            raise

    async def stop(self, *, grace: float | None = None) -> None:
        """Finishes what is under way, within the grace time (seconds; default: that of the settings)."""
        try:
            await self.reconciling.stop()
            if self.engine is not None:
                await self.engine.stop(grace=self._settings.grace if grace is None else grace)
        finally:
            await self.live.stop()
            self._watchdog.stop()
            self._threads.stop()
            await self.inbox.close()

    async def abandon(self) -> None:
        """Lets go of everything where the event loop it lived in is gone, and its tasks with it."""
        self._watchdog.stop()
        self._threads.stop()
        await self.inbox.abandon()

    @property
    def takes_work(self) -> bool:
        """Whether somebody takes what is stored, or wants to be told of it."""
        return self.engine is not None or self.live.observes

    def look_again(self) -> None:
        """Looks for records that wait again, if anybody handles them here."""
        if self.engine is not None:
            self.engine.look_again()

    def _hand_over(self, record_id: int, note: Callable[[int], Any] | None) -> None:
        if self.engine is not None and note is not None:
            self.engine.hand_over(record_id, note(record_id))
        elif self.engine is None:
            self.live.stored()

    def _make_engine(self) -> LocalEngine:
        settings = self._settings
        ownership = Ownership(self.inbox.database, worker_id=uuid.uuid4().hex, lease=settings.lease)
        caller = Caller(
            threads=self._threads,
            sessions=Sessions(self.inbox.database, ownership.settling),
            timeout=None if math.isinf(settings.handler_timeout) else settings.handler_timeout,
        )
        runner = Runner(
            dispatcher=self._dispatcher,
            caller=caller,
            attempts=ownership,
            receiver=self._receiver,
            retry=self._retry,
            clock=now,
            random=random.random,
        )
        return LocalEngine(
            queries=self.queries,
            ownership=ownership,
            runner=runner,
            concurrency=settings.concurrency,
            lease=settings.lease,
            on_projected=self.live.projected,
        )
