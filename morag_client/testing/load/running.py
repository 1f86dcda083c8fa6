"""Tasks side by side, each with its events one after the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from morag_client.testing.carrying import Carrier
from morag_client.testing.delivering import DeliveryResult
from morag_client.testing.faults.shipment import Shipment
from morag_client.testing.load.report import LoadReport
from morag_client.testing.posting import OnRetry


class Load:
    """The shipments of many tasks, at most `rate` a second, counted by a report.

    `on_delivery`, `on_retry` and `on_task` hear of each delivery, each failed attempt, each task that is through.
    """

    def __init__(
        self,
        tasks: Iterable[Iterable[Shipment]],
        *,
        report: LoadReport,
        rate: float | None = None,
        on_delivery: Callable[[DeliveryResult], None] | None = None,
        on_retry: OnRetry | None = None,
        on_task: Callable[[], None] | None = None,
    ) -> None:
        self._tasks = iter(tasks)
        self._report = report
        self._rate = rate
        self._on_delivery, self._on_retry, self._on_task = on_delivery, on_retry, on_task

    async def run(self, *, concurrency: int) -> None:
        """Carries all of them, of so many tasks at a time. Once only. Raises what a callback raises, at once."""
        carrier = Carrier(on_retry=self._retrying)
        pace = _Pace(self._rate)
        self._report.begin()
        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(concurrency):
                    workers.create_task(self._work(carrier, pace))
        except BaseExceptionGroup as group:
            raise _first(group) from None
        finally:
            self._report.end()
            carrier.close()
            await asyncio.sleep(0)  # in which aborted connections let go of their sockets

    async def _work(self, carrier: Carrier, pace: _Pace) -> None:
        for shipments in self._tasks:
            async with asyncio.TaskGroup() as beside:
                for shipment in shipments:
                    await pace.wait()
                    if shipment.beside:
                        beside.create_task(self._carry(carrier, shipment))
                    else:
                        await self._carry(carrier, shipment)
            self._report.tasks += 1
            if self._on_task is not None:
                self._on_task()

    async def _carry(self, carrier: Carrier, shipment: Shipment) -> None:
        result = await carrier.carry(shipment)
        self._report.take(result)
        if self._on_delivery is not None:
            self._on_delivery(result)

    def _retrying(self, so_far: DeliveryResult, wait_seconds: float) -> None:
        self._report.take_retry(so_far, wait_seconds)
        if self._on_retry is not None:
            self._on_retry(so_far, wait_seconds)


class _Pace:
    """Evenly spaced starts; what was missed is made up for."""

    def __init__(self, rate: float | None) -> None:
        self._between = 0.0 if rate is None else 1 / rate
        self._next = time.perf_counter()

    async def wait(self) -> None:
        if not self._between:
            return
        begin = self._next
        self._next += self._between
        await asyncio.sleep(max(0.0, begin - time.perf_counter()))


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What failed first and so ended the others."""
    failed = group.exceptions[0]
    return _first(failed) if isinstance(failed, BaseExceptionGroup) else failed
