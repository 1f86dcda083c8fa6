"""The driver that delivers in an event loop, whatever befalls a delivery; and a loop for code that has none."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import Self

from morag_client.testing.delivering import Answer, Attempt, DeliveryResult, deliver
from morag_client.testing.faults.shipment import Shipment
from morag_client.testing.posting import OnRetry
from morag_client.testing.raw.connections import Connections


class Carrier:
    """Carries shipments through, as many at once as it is asked to. For one event loop."""

    def __init__(self, *, on_retry: OnRetry | None = None) -> None:
        self._connections = Connections()
        self._closed = asyncio.Event()
        self._on_retry = on_retry

    async def carry(self, shipment: Shipment) -> DeliveryResult:
        """Delivers it, as often as its sender tries. One that is closed meanwhile has what came of it so far."""
        if shipment.after:
            await self._wait(shipment.after)
        delivering = deliver(shipment.message, sender=shipment.sender, transits=shipment.transits)
        answer: Answer | None = None
        try:
            while True:
                step = delivering.send(answer)
                if isinstance(step, Attempt):
                    answer = await self._connections.exchange(step)
                    continue
                answer = None
                if self._on_retry is not None:
                    self._on_retry(step.so_far, step.seconds)
                if not await self._wait(step.seconds):
                    return step.so_far
        except StopIteration as ended:
            result: DeliveryResult = ended.value
            return result

    def close(self) -> None:
        """Ends all waiting and all connections."""
        self._closed.set()
        self._connections.close()

    async def _wait(self, seconds: float) -> bool:
        """Whether it was not closed meanwhile."""
        try:
            async with asyncio.timeout(seconds):
                await self._closed.wait()
        except TimeoutError:
            return True
        return False


class Line:
    """A carrier for code outside of an event loop, inside a `with`; its end waits for nothing."""

    def __init__(self, *, on_retry: OnRetry | None = None) -> None:
        self._loop = asyncio.new_event_loop()
        self._carrier = Carrier(on_retry=on_retry)
        self._thread = threading.Thread(target=self._loop.run_forever, name="deliveries", daemon=True)

    def carry(self, shipments: Iterator[Shipment], *, tell: Callable[[DeliveryResult], None]) -> list[DeliveryResult]:
        """Carries them in their order; the results are in it too, also of those that went beside others.

        `tell` hears of each, in this thread; of those beside others when all are through.
        """
        begun: list[tuple[Shipment, Future[DeliveryResult]]] = []
        for shipment in shipments:
            future = asyncio.run_coroutine_threadsafe(self._carrier.carry(shipment), self._loop)
            begun.append((shipment, future))
            if not shipment.beside:
                tell(future.result())
        for shipment, future in begun:
            if shipment.beside:
                tell(future.result())
        return [future.result() for _, future in begun]

    def give_up(self) -> None:
        """Lets whatever is under way come to nothing; from any thread."""
        with contextlib.suppress(RuntimeError):  # it has ended by itself
            self._loop.call_soon_threadsafe(self._carrier.close)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        self._carrier.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        await asyncio.sleep(0)  # in which aborted connections let go of their sockets
