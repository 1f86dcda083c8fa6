"""Not more progress than anybody can see: 10 times a second for each task, but every change of status."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from morag_client.progress.updates import Update

INTERVAL: Final = 0.1
"""Seconds between two updates of a task that tell of nothing but progress."""

_KEPT: Final = 4096
_MOST_STEPS: Final = 64


@dataclass(slots=True)
class _Pace:
    told_at: float
    marks: dict[str, Any] = field(default_factory=dict)
    """What was last told of each step, and of the task itself."""
    waiting: Update | None = None


class Pacing:
    """Says of each update whether it is due, by a monotonic clock in seconds; the last of those that wait is kept."""

    def __init__(self) -> None:
        self._paces: dict[bytes, _Pace] = {}
        self._waiting: dict[bytes, _Pace] = {}

    def offer(self, update: Update, *, now: float) -> bool:
        """Whether to tell it now. If not, it waits, and what waited before is forgotten: it was older."""
        pace = self._paces.get(update.key)
        if pace is None:
            pace = self._paces[update.key] = _Pace(now - INTERVAL)
            self._forget(now)
        if not _marks_change(pace, update) and now - pace.told_at < INTERVAL:
            pace.waiting = update
            self._waiting[update.key] = pace
            return False
        pace.told_at, pace.waiting = now, None
        self._waiting.pop(update.key, None)
        return True

    def due(self, *, now: float) -> list[Update]:
        """What has waited long enough."""
        keys = [key for key, pace in self._waiting.items() if now - pace.told_at >= INTERVAL]
        found = []
        for key in keys:
            pace = self._waiting.pop(key)
            if pace.waiting is not None:
                found.append(pace.waiting)
            pace.told_at, pace.waiting = now, None
        return found

    @property
    def next_at(self) -> float | None:
        """When the next one that waits is due; None where none does."""
        times = [pace.told_at for pace in self._waiting.values()]
        return min(times) + INTERVAL if times else None

    def _forget(self, now: float) -> None:
        if len(self._paces) <= _KEPT:
            return
        # Whose last update is long ago needs no pace; the others are few, or there would be no keeping up at all.
        old = [key for key, pace in self._paces.items() if pace.waiting is None and now - pace.told_at > INTERVAL]
        for key in old[: len(self._paces) - _KEPT // 2]:
            del self._paces[key]


def _marks_change(pace: _Pace, update: Update) -> bool:
    """Whether it tells of more than progress: steps that run side by side must not look like changes of status."""
    message = update.message
    about = str(message.get("step") or message.get("stage") or "")
    mark = (message["name"], message["state"])
    if pace.marks.get(about) == mark or (about not in pace.marks and len(pace.marks) >= _MOST_STEPS):
        return False
    pace.marks[about] = mark
    return True
