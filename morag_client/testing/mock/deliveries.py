"""The delivery log: what was sent where, and what came of each attempt."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from morag_client.events.payloads import as_text
from morag_client.testing.delivering import DeliveryResult, Message

_KEPT: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedAttempt:
    """One attempt that ended. `ok` if the receiver accepted; `again_in` is in seconds, None where it was the last."""

    task_id: str
    event: str
    dialect: str
    url: str = field(repr=False)
    attempt: int
    at: datetime
    ok: bool
    status_code: int | None
    error: str | None
    seconds: float
    again_in: float | None

    def as_json(self) -> dict[str, Any]:
        """The attempt for machines; times are UTC with their offset."""
        return {
            "task_id": self.task_id,
            "event": self.event,
            "dialect": self.dialect,
            "url": self.url,
            **self.outcome(),
        }

    def outcome(self) -> dict[str, Any]:
        """What is of this attempt alone."""
        return {
            "attempt": self.attempt,
            "at": as_text(self.at),
            "ok": self.ok,
            "status_code": self.status_code,
            "error": self.error,
            "seconds": round(self.seconds, 6),
            "again_in": self.again_in,
        }


class DeliveryLog:
    """The latest 10,000 deliveries with their attempts, safe for threads; `tell` hears of each attempt."""

    def __init__(
        self, *, tell: Callable[[LoggedAttempt], None] | None = None, now: Callable[[], datetime] | None = None
    ) -> None:
        self._tell = tell
        self._now = now or (lambda: datetime.now(UTC))
        self._lock = threading.Lock()
        self._deliveries: deque[_Delivery] = deque(maxlen=_KEPT)
        # Those with attempts to come, by their message: it is one object from the first attempt to the last.
        self._open: dict[int, list[_Delivery]] = {}

    def add(self, task_id: str, result: DeliveryResult, *, again_in: float | None = None) -> None:
        """Notes the latest attempt of a delivery."""
        message = result.message
        attempt = LoggedAttempt(
            task_id=task_id,
            event=result.event,
            dialect=result.dialect,
            url=message.url,
            attempt=result.attempts,
            at=self._now(),
            ok=result.ok,
            status_code=result.status_code,
            error=result.error,
            seconds=result.seconds,
            again_in=again_in,
        )
        with self._lock:
            still_open = self._open.pop(id(message), [])
            given_up = next((one for one in still_open if one.latest is result), None)
            known = given_up or next((one for one in still_open if len(one.attempts) == result.attempts - 1), None)
            if known is None:
                known = _Delivery(message)
                self._deliveries.append(known)
            else:
                still_open.remove(known)
            if given_up is not None:
                # Its attempt is known, and that there was to be another; now there is not.
                known.attempts.pop()
            known.attempts.append(attempt)
            known.latest = result
            if again_in is not None:
                still_open.append(known)
            if still_open:
                self._open[id(message)] = still_open
            if given_up is not None:
                return
        if self._tell is not None:
            self._tell(attempt)

    def as_json(self) -> dict[str, Any]:
        """What `GET /_mock/deliveries` answers, oldest first; `ok` is null while attempts are still to come."""
        with self._lock:
            logged = [list(delivery.attempts) for delivery in self._deliveries]
        return {"deliveries": [_as_delivery(attempts) for attempts in logged], "count": len(logged)}


@dataclass(slots=True)
class _Delivery:
    message: Message
    attempts: list[LoggedAttempt] = field(default_factory=list)
    latest: DeliveryResult | None = None


def _as_delivery(attempts: list[LoggedAttempt]) -> dict[str, Any]:
    last = attempts[-1]
    return {
        "task_id": last.task_id,
        "event": last.event,
        "dialect": last.dialect,
        "url": last.url,
        "ok": last.ok if last.again_in is None else None,
        "attempts": [attempt.outcome() for attempt in attempts],
    }
