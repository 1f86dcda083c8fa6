"""A pipeline's moments, worked out once and told of any number of tasks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from morag_client.testing.moments import Moment


class Recording:
    """What happened to one task, to be told of others. What names the task names the other one then."""

    def __init__(self, moments: Iterable[Moment], *, task_id: str) -> None:
        self._moments = tuple(moments)
        self._task_id = task_id

    def moments(self, task_id: str) -> Iterator[Moment]:
        """The same for another task."""
        return (self._retold(moment, task_id) for moment in self._moments)

    def _retold(self, moment: Moment, task_id: str) -> Moment:
        # Only the ends of tasks tell of the steps before them, by their ids too; elsewhere they are counted.
        ids_matter = moment.ends_task
        story = tuple(replace(earlier, task_id=task_id) for earlier in moment.story) if ids_matter else moment.story
        return replace(moment, task_id=task_id, story=story, data=self._renamed(moment.data, task_id))

    def _renamed(self, data: Mapping[str, Any] | None, task_id: str) -> Mapping[str, Any] | None:
        """Artefacts have the task in their paths."""
        if data is None:
            return None
        return {
            key: value.replace(self._task_id, task_id) if isinstance(value, str) else value
            for key, value in data.items()
        }
