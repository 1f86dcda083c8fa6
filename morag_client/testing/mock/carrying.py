"""Delivering what tasks tell: over pooled connections, or with faults on the way; all of it is logged."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from morag_client.testing.carrying import Line
from morag_client.testing.delivering import DeliveryResult, deliver
from morag_client.testing.faults.plan import FaultPlan
from morag_client.testing.faults.shipment import Shipment
from morag_client.testing.mock.deliveries import DeliveryLog
from morag_client.testing.posting import Poster


class Post:
    """Carries the shipments of any number of tasks, each task's in their order."""

    def __init__(
        self, *, log: DeliveryLog, faults: FaultPlan | None, on_delivery: Callable[[DeliveryResult], None]
    ) -> None:
        self._log = log
        self._faults = faults
        self._on_delivery = on_delivery
        self._poster = Poster()
        self._lines: set[Line] = set()
        self._is_closed = threading.Event()

    def carry(self, task_id: str, source: Callable[[str], Iterator[Shipment]], number: int) -> list[DeliveryResult]:
        """Delivers all that a task tells; `number` is its own, for the faults' dice."""
        if self._faults is None:
            return [self._send(task_id, shipment) for shipment in source(task_id)]
        shipments = self._faults.ship(source, task_id, number=number)
        with Line(on_retry=self._retry_of(task_id)) as line:
            self._lines.add(line)
            try:
                if self._is_closed.is_set():
                    line.give_up()
                return line.carry(shipments, tell=lambda result: self._through(task_id, result))
            finally:
                self._lines.discard(line)

    def close(self) -> None:
        """Gives up what is under way and what still waits for a retry."""
        self._is_closed.set()
        self._poster.close()
        for line in tuple(self._lines):
            line.give_up()

    def _send(self, task_id: str, shipment: Shipment) -> DeliveryResult:
        delivering = deliver(shipment.message, sender=shipment.sender)
        result = self._poster.drive(delivering, on_retry=self._retry_of(task_id))
        self._through(task_id, result)
        return result

    def _retry_of(self, task_id: str) -> Callable[[DeliveryResult, float], None]:
        return lambda result, seconds: self._log.add(task_id, result, again_in=seconds)

    def _through(self, task_id: str, result: DeliveryResult) -> None:
        self._log.add(task_id, result)
        self._on_delivery(result)
