"""How often a task is asked about: the longer it has been silent, the more rarely."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from morag_client.progress.state import TaskState

_SHARE: Final = 10
_LONGEST: Final = timedelta(hours=6)
_NEVER: Final = datetime.min.replace(tzinfo=UTC)


class Patience:
    """Remembers who was asked about when, for one process."""

    def __init__(self) -> None:
        self._asked: dict[bytes, datetime] = {}

    def due(self, tasks: Mapping[bytes, TaskState], *, now: datetime) -> set[bytes]:
        """Those of the tasks that are to be asked about: again after a tenth of their silence, at most six hours."""
        return {key for key, task in tasks.items() if self._is_due(key, task, now)}

    def in_turn(self, tasks: Mapping[bytes, TaskState]) -> list[bytes]:
        """The tasks in the order in which to ask: who was not asked about first, then those longest ago."""
        return sorted(tasks, key=lambda key: self._asked.get(key, _NEVER))

    def asked(self, keys: Iterable[bytes], *, silent: Container[bytes], now: datetime) -> None:
        """These have been asked about; all but the `silent` ones are forgotten."""
        self._asked.update(dict.fromkeys(keys, now))
        self._asked = {key: last for key, last in self._asked.items() if key in silent}

    def _is_due(self, key: bytes, task: TaskState, now: datetime) -> bool:
        last = self._asked.get(key)
        if last is None or task.updated_at is None or last > now:
            return True
        return now - last >= min((now - task.updated_at) / _SHARE, _LONGEST)
