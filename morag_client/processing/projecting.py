"""What the tasks of a batch become with its events."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from morag_client.events.names import UNKNOWN
from morag_client.inbox.lanes import Grant, Project, Projection
from morag_client.processing.work import Work
from morag_client.progress.state import TaskState, advance, as_values, from_values
from morag_client.progress.telling import Taken, take

_KEPT: Final = 2048

logger = logging.getLogger("morag_client.processing")


class Projecting:
    """The states of tasks, as this worker last wrote them: to read one back took longer than to change it."""

    def __init__(self) -> None:
        self._states: dict[bytes, TaskState] = {}

    def of(self, works: Mapping[int, Work]) -> Project:
        """A function that takes a task's columns over to those with these records in them."""

        def project(values: Mapping[str, Any], record_ids: Sequence[int]) -> Projection:
            state = self._states.get(values["key"])
            if state is None or state.sequence != values["sequence"]:
                state = from_values(values)
            events: list[tuple[int, bool, TaskState]] = []
            belongings: dict[int, int] = {}
            for record_id in record_ids:
                state, is_late, belongs_to = _advanced(state, works[record_id])
                events.append((state.sequence, is_late, state))
                if belongs_to is not None:
                    belongings[record_id] = belongs_to
            return Projection(as_values(state) if events else {}, events, state, belongings)

        return project

    def known(self, lanes: Iterable[bytes]) -> dict[bytes, int]:
        """After how many of its events the state of a task is known, for those of the lanes where it is."""
        return {lane: state.sequence for lane in lanes if (state := self._states.get(lane)) is not None}

    def keep(self, grants: Iterable[Grant]) -> None:
        """Keeps what was written, once that is committed; the states that were not asked for longest are dropped."""
        for grant in grants:
            states = [granted.task for granted in grant.records if granted.task is not None]
            if states:
                self._states.pop(grant.lane, None)
                self._states[grant.lane] = max(states, key=_sequence)
        while len(self._states) > _KEPT:
            del self._states[next(iter(self._states))]


def _sequence(state: TaskState) -> int:
    return state.sequence


def _advanced(state: TaskState, work: Work) -> Taken:
    if work.reading is not None:
        try:
            return take(state, work.reading.fields, record_id=work.record_id, received_at=work.received_at)
        except Exception:  # an event that cannot be projected must not hold up all others for ever
            logger.exception("record %d does not show in the state of its task", work.record_id)
    return Taken(*advance(state, {"name": UNKNOWN}, received_at=work.received_at))
