"""Which record tells of a thing in a task's life: a webhook, or what MoRAG answered when it was asked.

Both may come to tell of the same. The handlers of `task.*` run for the one that comes first; the other belongs to it.
Whoever owns the task decides, event by event, so that it does not matter which process stored what.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, NamedTuple

from morag_client.progress.state import ENDS, RANK, State, TaskState, Told, advance

NOTHING_NEW: Final = 0
"""In the place of a record's id: what this one tells was known, and by no record that tells just the same."""

_TOLD: Final = frozenset({"task.completed", "task.failed", "task.cancelled"})


class Taken(NamedTuple):
    """A task's state with one more event, and whether that was late.

    `belongs_to` is the record that told the same before, NOTHING_NEW, or None: its handlers are to run.
    """

    state: TaskState
    is_late: bool
    belongs_to: int | None = None


def take(state: TaskState, fields: Mapping[str, Any], *, record_id: int, received_at: datetime) -> Taken:
    """Takes an event of a task, made or by webhook; `fields` are those of a `Reading`."""
    name: str = fields["name"]
    if fields.get("source") == "reconcile":
        return _take_made(state, fields, record_id=record_id, received_at=received_at)
    if state.told and (told := state.told.get(name)) is not None and told.is_made:
        return _complete(state, fields, told, received_at=received_at)
    after, is_late = advance(state, fields, received_at=received_at)
    if name in _TOLD and name not in after.told:
        after = _with(after, name, Told(record_id, is_made=False))
    return Taken(after, is_late)


def _take_made(state: TaskState, fields: Mapping[str, Any], *, record_id: int, received_at: datetime) -> Taken:
    name = fields["name"]
    if _is_known(state, fields):
        told = state.told.get(name)
        # It only counts: it is no sign of life either, since nothing new was said.
        after = replace(state, sequence=state.sequence + 1, late=state.late + 1)
        return Taken(after, is_late=True, belongs_to=NOTHING_NEW if told is None else told.record_id)
    after, is_late = advance(state, fields, received_at=received_at)
    return Taken(after if name == "task.progress" else _with(after, name, Told(record_id, is_made=True)), is_late)


def _is_known(state: TaskState, fields: Mapping[str, Any]) -> bool:
    """Whether a made event says nothing that is not known by now."""
    name = fields["name"]
    if name == "task.started":
        return state.state != "pending"
    if name == "task.progress":
        return RANK[state.state] > 0 or (fields.get("progress") or 0.0) <= state.progress
    if name == "task.lost":
        # Whatever came since it was given up shows that it lives.
        return RANK[state.state] > 0 or fields.get("known") != state.sequence
    # A step `processing` that failed has ended the task, but told nobody who waits for `task.failed`.
    return name in state.told or RANK[ENDS[name]] < RANK[state.state]


def _complete(state: TaskState, fields: Mapping[str, Any], told: Told, *, received_at: datetime) -> Taken:
    """A webhook that comes after all: what it says takes the place of what was made."""
    name = fields["name"]
    end: State | None = ENDS.get(name)
    is_end = end is not None and state.state == end
    before = replace(state, state="running", finished_at=None) if is_end else state
    after, is_late = advance(before, fields, received_at=received_at)
    return Taken(_with(after, name, Told(told.record_id, is_made=False)), is_late, told.record_id)


def _with(state: TaskState, name: str, told: Told) -> TaskState:
    return replace(state, told={**state.told, name: told})
