"""What the tasks of a batch become with its events."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from morag_client.events.names import UNKNOWN
from morag_client.inbox.lanes import Project, Projection
from morag_client.processing.work import Work
from morag_client.progress.state import TaskState, advance, as_values, from_values

logger = logging.getLogger("morag_client.processing")


def projecting(works: Mapping[int, Work]) -> Project:
    """A function that takes a task's columns over to those with these records in them."""

    def project(values: Mapping[str, Any], record_ids: Sequence[int]) -> Projection:
        state = from_values(values)
        events: list[tuple[int, bool, TaskState]] = []
        for record_id in record_ids:
            state, is_late = _advanced(state, works[record_id])
            events.append((state.sequence, is_late, state))
        return Projection(as_values(state) if events else {}, events, state)

    return project


def _advanced(state: TaskState, work: Work) -> tuple[TaskState, bool]:
    if work.reading is not None:
        try:
            return advance(state, work.reading.fields, received_at=work.received_at)
        except Exception:  # an event that cannot be projected must not hold up all others for ever
            logger.exception("record %d does not show in the state of its task", work.record_id)
    return advance(state, {"name": UNKNOWN}, received_at=work.received_at)
