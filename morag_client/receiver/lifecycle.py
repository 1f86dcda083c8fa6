"""Starting once and stopping once, whether a lifespan says so or the first request does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from morag_client.errors import InboxUnavailable
from morag_client.receiver.runtime import Runtime

logger = logging.getLogger("morag_client.receiver")


class Lifecycle:
    """Holds the one Runtime, started single-flight in the event loop that asks for it.

    Without a lifespan it lasts as long as its event loop does.
    """

    def __init__(self, make_runtime: Callable[[], Runtime]) -> None:
        self._make_runtime = make_runtime
        self._runtime: Runtime | None = None
        self._starting: asyncio.Task[Runtime] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._lifespans = 0
        self._has_warned = False
        self.start_error: Exception | None = None

    @property
    def has_lifespan(self) -> bool:
        return self._lifespans > 0

    @property
    def is_running(self) -> bool:
        """Whether it is started, or about to be."""
        return self._runtime is not None or (self._starting is not None and not self._starting.done())

    @property
    def running(self) -> Runtime | None:
        """What runs in the event loop that asks, None where nothing does."""
        runtime = self._runtime
        return runtime if runtime is not None and runtime.loop is asyncio.get_running_loop() else None

    async def enter(self) -> None:
        """A lifespan begins. Raises what the start raises."""
        self._lifespans += 1
        try:
            await self._started()
        except BaseException:
            self._lifespans -= 1
            raise

    async def leave(self) -> None:
        """A lifespan ends; the last one stops what runs."""
        self._lifespans -= 1
        if self._lifespans > 0 or self._runtime is None:
            return
        runtime, self._runtime = self._runtime, None
        if runtime.loop is not asyncio.get_running_loop():
            await runtime.abandon()
            return
        if self._keeping is not None:
            self._keeping.cancel()
        await runtime.stop()

    async def runtime(self) -> Runtime:
        """What runs; it is started if need be. Raises ConfigurationError or InboxUnavailable."""
        runtime = self._runtime
        if runtime is not None and runtime.loop is asyncio.get_running_loop():
            return runtime
        if not self._lifespans and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "the receiver was started by a request: nobody runs its lifespan, so that what an earlier process left"
                " waits for traffic and nothing is finished at the end; pass lifespan=receiver.lifespan to the"
                " application"
            )
        return await self._started()

    async def _started(self) -> Runtime:
        loop = asyncio.get_running_loop()
        if self._runtime is not None and self._runtime.loop is not loop:
            if self._runtime.loop.is_running():
                raise InboxUnavailable("the receiver runs in another event loop; use one receiver per loop")
            gone, self._runtime = self._runtime, None
            await gone.abandon()
        if self._runtime is not None:
            return self._runtime
        if self._starting is None or self._starting.done() or self._starting.get_loop() is not loop:
            self._starting = loop.create_task(self._start(), name="morag-start")
        # Who asked first may hang up; the others still want it started.
        return await asyncio.shield(self._starting)

    async def _start(self) -> Runtime:
        try:
            runtime = self._make_runtime()
            await runtime.start()
        except Exception as error:
            self.start_error = error
            raise
        self._runtime, self.start_error = runtime, None
        self._keeping = runtime.loop.create_task(self._keep(runtime), name="morag-keep")
        return runtime

    async def _keep(self, runtime: Runtime) -> None:
        """Stops it where nobody else does: an event loop that ends cancels its tasks and waits for them."""
        try:
            await asyncio.Event().wait()
        finally:
            if self._runtime is runtime:
                self._runtime = None
                await runtime.stop(grace=0)
