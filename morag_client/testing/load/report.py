"""What became of many deliveries: how many, how fast, and what was answered."""

from __future__ import annotations

import math
import time
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from morag_client.testing.delivering import DeliveryResult

PERCENTILES: Final = (50, 90, 99)


@dataclass(frozen=True, slots=True)
class Latency:
    """How long receivers took to answer, in seconds: percentiles of the answered deliveries' last attempts."""

    p50: float
    p90: float
    p99: float
    max: float


class LoadReport:
    """Counts deliveries as they end; it can be read at any time, also after a load was interrupted.

    Of `deliveries`, some were `accepted`, some `refused` (the last answer said no) and some were in `error` (no answer
    came to the last attempt). `statuses` counts the answers of all attempts, `retries` those after the first.
    """

    def __init__(self, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self.tasks = 0
        self.accepted = 0
        self.refused = 0
        self.errors = 0
        self.retries = 0
        self.statuses: Counter[int] = Counter()
        self.reasons: Counter[str] = Counter()
        self._latencies = array("d")
        self._clock = clock
        self._began: float | None = None
        self._ended: float | None = None

    @property
    def deliveries(self) -> int:
        """How many are through, however they ended."""
        return self.accepted + self.refused + self.errors

    @property
    def ok(self) -> bool:
        """Whether all were accepted."""
        return self.accepted == self.deliveries

    @property
    def seconds(self) -> float:
        """How long it has taken, until now while it lasts."""
        if self._began is None:
            return 0.0
        return (self._clock() if self._ended is None else self._ended) - self._began

    @property
    def rate(self) -> float:
        """Deliveries a second."""
        return self.deliveries / self.seconds if self.seconds else 0.0

    @property
    def latency(self) -> Latency | None:
        """None where nothing was answered."""
        if not self._latencies:
            return None
        ordered = sorted(self._latencies)
        p50, p90, p99 = (ordered[math.ceil(percent / 100 * len(ordered)) - 1] for percent in PERCENTILES)
        return Latency(p50, p90, p99, ordered[-1])

    def begin(self) -> None:
        """The clock starts."""
        self._began, self._ended = self._clock(), None

    def end(self) -> None:
        """The clock stops."""
        self._ended = self._clock()

    def take(self, result: DeliveryResult) -> None:
        """Counts a delivery that has ended."""
        if result.ok:
            self.accepted += 1
        elif result.status_code is None:
            self.errors += 1
        else:
            self.refused += 1
        if result.status_code is not None:
            self._latencies.append(result.seconds)
        self._count(result)

    def take_retry(self, so_far: DeliveryResult, wait_seconds: float) -> None:  # noqa: ARG002  # as `on_retry` has it
        """Counts an attempt that will be followed by another."""
        self.retries += 1
        self._count(so_far)

    def as_object(self) -> dict[str, Any]:
        """All of it, ready for JSON; times in seconds."""
        latency = self.latency
        return {
            "tasks": self.tasks,
            "deliveries": self.deliveries,
            "seconds": round(self.seconds, 6),
            "deliveries_per_second": round(self.rate, 1),
            "accepted": self.accepted,
            "refused": self.refused,
            "errors": self.errors,
            "retries": self.retries,
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "reasons": dict(self.reasons.most_common()),
            "latency": None
            if latency is None
            else {name: round(getattr(latency, name), 6) for name in Latency.__dataclass_fields__},
        }

    def _count(self, result: DeliveryResult) -> None:
        if result.status_code is not None:
            self.statuses[result.status_code] += 1
        else:
            self.reasons[result.error or "unknown"] += 1
