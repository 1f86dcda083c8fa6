"""The tasks of a mock server: how each stands, what happened to it, and what it left."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from morag_client.testing.bodies import Json, naive
from morag_client.testing.mock.profiles import Profile, State
from morag_client.testing.moments import Moment

HISTORY_KEPT: Final = timedelta(days=7)
_HISTORY_ENTRIES: Final = 100
_RECENT_ENTRIES: Final = 100
_WORKER: Final = "celery@mock"
_STATES: Final[dict[str, State]] = {
    "task.started": "started",
    "task.completed": "completed",
    "task.failed": "failed",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing in a task's history; progress is 0 to 1, `at` is aware UTC."""

    task_id: str
    at: datetime
    status: str
    progress: float
    message: str
    metadata: Json

    def as_json(self) -> Json:
        """The entry as the history has it."""
        return {
            "timestamp": naive(self.at),
            "status": self.status,
            "progress": self.progress,
            "message": self.message,
            "metadata": self.metadata,
        }


@dataclass(slots=True)
class Task:
    """One task; times are aware UTC, progress is 0 to 1."""

    task_id: str
    created_at: datetime
    expected_seconds: float
    state: State = "pending"
    progress: float = 0.0
    message: str = "Task is queued"
    result: Json | None = None
    error: str | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    history: deque[Entry] = field(default_factory=lambda: deque(maxlen=_HISTORY_ENTRIES))
    artefacts: MutableMapping[str, bytes] = field(default_factory=dict)

    @property
    def is_active(self) -> bool:
        """Whether a worker is at it."""
        return self.state in {"started", "progress"}

    @property
    def has_ended(self) -> bool:
        """Whether nothing more happens to it."""
        return self.completed_at is not None

    def take(self, moment: Moment, now: datetime) -> None:
        """Moves on to what has happened."""
        self.state = _STATES.get(moment.name, "progress")
        self.progress = moment.progress / 100
        self.message = moment.message or f"{moment.step}: {moment.status}"
        if moment.name == "task.started":
            self.started_at = now
        if moment.ends_task:
            self.completed_at = now
            self.result = None if moment.result is None else dict(moment.result)
            self.error = moment.error


class Tasks:
    """All tasks of a server, in the words of its release; safe for its threads."""

    def __init__(self, profile: Profile, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._words = profile.words
        self._counted_as = profile.counted_as
        self._now = now
        self._lock = threading.Lock()
        self._tasks: dict[str, Task] = {}
        self._recent: deque[Entry] = deque(maxlen=_RECENT_ENTRIES)

    def add(self, task_id: str, *, expected_seconds: float, artefacts: MutableMapping[str, bytes]) -> None:
        """A new task; `artefacts` may still grow."""
        with self._lock:
            self._tasks[task_id] = Task(task_id, self._now(), expected_seconds, artefacts=artefacts)

    def take(self, moment: Moment) -> bool:
        """Moves the moment's task on. False where it had ended before: it was cancelled, and nothing happens to it."""
        with self._lock:
            task, now = self._tasks[moment.task_id], self._now()
            if task.has_ended:
                return False
            task.take(moment, now)
            step = {} if moment.step is None else {"step": moment.step, "step_status": moment.status}
            self._note(task, now, {**step, **(moment.metadata or {})})
            return True

    def cancel(self, task_id: str) -> None:
        """Ends a task that has not ended; of any other it is no error, as with Celery's `revoke`."""
        with self._lock:
            task, now = self._tasks.get(task_id), self._now()
            if task is None or task.has_ended:
                return
            task.state, task.message, task.completed_at = "cancelled", "Task is cancelled", now
            self._note(task, now, {})

    def status(self, task_id: str) -> Json:
        """How a task stands. One that nobody knows is pending, as Celery has it."""
        with self._lock:
            task = self._tasks.get(task_id) or Task(task_id, self._now(), 0.0)
            remaining = None if task.has_ended else round(task.expected_seconds * (1 - task.progress), 3)
            return {
                "task_id": task.task_id,
                "status": self._words[task.state],
                "progress": task.progress,
                "message": task.message,
                "result": task.result,
                "error": task.error,
                "created_at": naive(task.created_at),
                "started_at": task.started_at and naive(task.started_at),
                "completed_at": task.completed_at and naive(task.completed_at),
                "estimated_time_remaining": remaining,
            }

    def history(self, task_id: str) -> Json:
        """What happened to a task, newest first, at most 100 entries of the last seven days."""
        with self._lock:
            task, since = self._tasks.get(task_id), self._now() - HISTORY_KEPT
            entries = [] if task is None else [entry.as_json() for entry in task.history if entry.at >= since]
        return {"task_id": task_id, "history": entries, "event_count": len(entries)}

    def recent(self, hours: int) -> Json:
        """What happened to all tasks in the last hours, newest first, at most 100 entries in all."""
        with self._lock:
            since = self._now() - min(timedelta(hours=hours), HISTORY_KEPT)
            events = [{"task_id": entry.task_id, **entry.as_json()} for entry in self._recent if entry.at >= since]
        return {"events": events, "count": len(events), "hours": hours}

    def active(self) -> Json:
        """The tasks that workers are at."""
        with self._lock:
            active = [_as_celery(task) for task in self._tasks.values() if task.is_active]
        return {"active_tasks": active, self._counted_as: len(active)}

    def queues(self) -> Json:
        """How much there is to do."""
        with self._lock:
            active = sum(task.is_active for task in self._tasks.values())
            waiting = sum(task.state == "pending" for task in self._tasks.values())
        return {"active_tasks": active, "scheduled_tasks": 0, "reserved_tasks": waiting, "workers": [_WORKER]}

    def artefacts(self, task_id: str) -> dict[str, bytes] | None:
        """The files that a task left, by name; None where there is no such task."""
        with self._lock:
            task = self._tasks.get(task_id)
            return None if task is None else dict(task.artefacts)

    def delete_artefacts(self, task_id: str) -> bool:
        """Lets go of a task's files. False where there is no such task."""
        with self._lock:
            task = self._tasks.get(task_id)
            if task is not None:
                task.artefacts.clear()
            return task is not None

    def _note(self, task: Task, now: datetime, metadata: dict[str, Any]) -> None:
        entry = Entry(task.task_id, now, self._words[task.state], task.progress, task.message, metadata)
        task.history.appendleft(entry)
        self._recent.appendleft(entry)


def _as_celery(task: Task) -> Json:
    """What Celery's inspection tells of a task."""
    return {
        "id": task.task_id,
        "name": "ingest_file_task",
        "args": [],
        "kwargs": {},
        "time_start": (task.started_at or task.created_at).timestamp(),
        "worker": _WORKER,
    }
