"""What is said about lanes: what is wanted, what was granted, and what became of it.

Tuples, since there are several for each event, and a frozen dataclass takes three times as long to make.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

RunState = Literal["succeeded", "retrying", "failed", "discarded", "stuck", "orphaned", "running", "died"]


class Claimable(NamedTuple):
    """A stored record that waits to be handled."""

    record_id: int
    task_key: bytes | None
    task_id: str | None
    tenant: str

    @property
    def lane(self) -> bytes:
        """Its task's key, or one made of its id."""
        return self.task_key or hashlib.blake2b(b"record:%d" % self.record_id, digest_size=16).digest()


class EarlierRun(NamedTuple):
    """What became of a handler's attempts at a record so far; `is_due` when another one may be made now."""

    handler: str
    state: RunState
    attempts: int
    is_due: bool


class Granted(NamedTuple):
    """A record of a lane that is ours: its number within its task, and the runs that were made already."""

    record_id: int
    sequence: int | None
    is_late: bool
    task: Any
    """The state of its task with this event in it, as the projection made it; None where it belongs to none."""
    runs: Sequence[EarlierRun] = ()
    is_retry: bool = False
    """Whether every handler has had its first attempt, so that only those runs count that are due."""
    is_new: bool = False
    """Whether it was numbered with this grant, so that nobody has been told of it."""
    is_told: bool = False
    """Whether another record told the same before, for which the handlers run: this one is settled already."""


class Grant(NamedTuple):
    """A lane that is ours, with the fence's epoch, and those of the wanted records that still wait; maybe none."""

    lane: bytes
    epoch: int
    records: Sequence[Granted]
    deaths: int = 0
    """How many workers in succession died while they held it."""


class Projection(NamedTuple):
    """A task's columns after some of its events, and for each of these whether it was late and the state with it."""

    values: Mapping[str, Any]
    events: Sequence[tuple[int, bool, Any]]
    """(sequence, is_late, state) for each event, in their order."""
    task: Any
    """The state with all of them in it."""
    belongings: Mapping[int, int] = MappingProxyType({})
    """The record that told the same before, 0 for none in particular, by the id of the event that tells it again."""


Project = Callable[[Mapping[str, Any], Sequence[int]], Projection]
"""What a task becomes: from its columns so far and the ids of its further records, in their order. Pure.

Of a task whose state is known already, the columns are `key` and `sequence` only.
"""


class RunRow(NamedTuple):
    """One handler's outcome for one record; `delay` is in how many seconds it is to be tried again, if ever."""

    handler: str
    state: RunState
    attempts: int
    error: str | None
    traceback: str | None
    started_at: datetime
    finished_at: datetime
    delay: float | None = None


Outcome = Literal["handled", "failed", "as_runs", "unfinished"]


class Settlement(NamedTuple):
    """What became of a record, with the lane and epoch under which it was handled.

    `outcome` is `handled`, `failed`, what its runs make of it (`as_runs`), or `unfinished`: it still is in its lane.
    """

    record_id: int
    lane: bytes
    epoch: int
    outcome: Outcome
    runs: Sequence[RunRow]
    orphaned: Sequence[str] = ()
    """The handlers whose runs are due and that do not exist in this process: they wait for one that has them."""

    @property
    def is_final(self) -> bool:
        """Whether the record leaves its lane with it."""
        return self.outcome != "unfinished"
