"""The tasks of a mock server: how each stands, what happened to it, and what it left."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from morag_client.testing.bodies import Json, naive
from morag_client.testing.moments import Moment

_HISTORY_ENTRIES: Final = 100
_STATUS: Final = {"task.started": "started", "task.completed": "success", "task.failed": "failure"}


@dataclass(slots=True)
class Task:
    """One task, in r1's words; times are aware UTC, progress is 0 to 1."""

    task_id: str
    created_at: datetime
    expected_seconds: float
    status: str = "pending"
    progress: float = 0.0
    message: str = "Task is queued"
    result: Mapping[str, Any] | None = None
    error: str | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    history: deque[Json] = field(default_factory=lambda: deque(maxlen=_HISTORY_ENTRIES))
    artefacts: Mapping[str, bytes] = field(default_factory=dict)

    def take(self, moment: Moment, now: datetime) -> None:
        """Moves on to what has happened."""
        self.status = _STATUS.get(moment.name, "progress")
        self.progress = moment.progress / 100
        self.message = moment.message or f"{moment.step}: {moment.status}"
        if moment.name == "task.started":
            self.started_at = now
        if moment.ends_task:
            self.completed_at = now
            self.result, self.error = moment.result, moment.error
        step = {} if moment.step is None else {"step": moment.step, "step_status": moment.status}
        self.history.appendleft(
            {
                "timestamp": naive(now),
                "status": self.status,
                "progress": self.progress,
                "message": self.message,
                "metadata": {**step, **(moment.metadata or {})},
            }
        )

    def as_status(self) -> Json:
        """What `GET /api/v1/status/{task_id}` answers."""
        remaining = None if self.completed_at else round(self.expected_seconds * (1 - self.progress), 3)
        return {
            "task_id": self.task_id,
            "status": self.status,
            "progress": self.progress,
            "message": self.message,
            "result": self.result,
            "error": self.error,
            "created_at": naive(self.created_at),
            "started_at": self.started_at and naive(self.started_at),
            "completed_at": self.completed_at and naive(self.completed_at),
            "estimated_time_remaining": remaining,
        }


class Tasks:
    """All tasks of a server, safe for its threads."""

    def __init__(self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._tasks: dict[str, Task] = {}

    def add(self, task_id: str, *, expected_seconds: float, artefacts: Mapping[str, bytes]) -> None:
        """A new task; `artefacts` may still grow."""
        with self._lock:
            self._tasks[task_id] = Task(task_id, self._now(), expected_seconds, artefacts=artefacts)

    def take(self, moment: Moment) -> None:
        """Moves the moment's task on."""
        with self._lock:
            self._tasks[moment.task_id].take(moment, self._now())

    def status(self, task_id: str) -> Json:
        """How a task stands. One that nobody knows is pending, as Celery has it in r1."""
        with self._lock:
            task = self._tasks.get(task_id) or Task(task_id, self._now(), 0.0)
            return task.as_status()

    def history(self, task_id: str) -> Json:
        """What happened to a task, newest first."""
        with self._lock:
            task = self._tasks.get(task_id)
            entries = [] if task is None else list(task.history)
        return {"task_id": task_id, "history": entries, "event_count": len(entries)}

    def artefact(self, task_id: str, filename: str) -> bytes | None:
        """The bytes of a file that a task left."""
        with self._lock:
            task = self._tasks.get(task_id)
            return None if task is None else task.artefacts.get(filename)
