"""How often a task is asked about: the longer it has been silent, the more rarely."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from morag_client.progress.state import TaskState

_SHARE: Final = 10
_LONGEST: Final = timedelta(hours=6)


class Patience:
    """Remembers who was asked about when, for one process."""

    def __init__(self) -> None:
        self._asked: dict[bytes, datetime] = {}

    def due(self, tasks: Mapping[bytes, TaskState], *, now: datetime) -> set[bytes]:
        """Those of the tasks that are to be asked about: again after a tenth of their silence, at most six hours."""
        return {key for key, task in tasks.items() if self._is_due(key, task, now)}

    def asked(self, tasks: Mapping[bytes, TaskState], *, now: datetime) -> None:
        """These are all the tasks that are silent; those of them that were due have been asked about."""
        self._asked = {key: now if self._is_due(key, task, now) else self._asked[key] for key, task in tasks.items()}

    def _is_due(self, key: bytes, task: TaskState, now: datetime) -> bool:
        last = self._asked.get(key)
        if last is None or task.updated_at is None or last > now:
            return True
        return now - last >= min((now - task.updated_at) / _SHARE, _LONGEST)
