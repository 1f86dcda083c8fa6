"""What MoRAG answers of a task, in one form whatever the release."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

from morag_client.api.models import HistoryEntry, TaskHistory, TaskStatus

Standing = Literal["completed", "failed", "cancelled", "running", "unknown"]

_WORDS: Final[Mapping[str, Standing]] = {
    # r1, as Celery has them; `pending` is also what it answers for an id that it does not know (any more).
    "pending": "unknown",
    "started": "running",
    "progress": "running",
    "retry": "running",
    "success": "completed",
    "failure": "failed",
    "revoked": "cancelled",
    # r2
    "running": "running",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
    "unknown": "unknown",
}


class Said(NamedTuple):
    """How a task stands by MoRAG; progress is in percent, `at` is aware, `answer` is what it said."""

    standing: Standing
    progress: float | None = None
    message: str | None = None
    error: str | None = None
    result: Mapping[str, Any] | None = None
    at: datetime | None = None
    answer: Mapping[str, Any] | None = None


def of_status(status: TaskStatus) -> Said | None:
    """What a status says; None where it has no word that is known."""
    standing = standing_of(status.status)
    if standing is None:
        return None
    return Said(
        standing,
        _percent(status.progress),
        status.message,
        status.error,
        status.result,
        status.completed_at if standing in {"completed", "failed", "cancelled"} else None,
        status.model_dump(mode="json", exclude_none=True),
    )


def of_history(history: TaskHistory) -> Said:
    """What the newest entry says that has a word that is known."""
    for entry in history.history:
        said = _of_entry(entry)
        if said is not None:
            return said
    return Said("unknown")


def standing_of(word: str | None) -> Standing | None:
    """What a word of any release means; None for one that no release is known to say."""
    return _WORDS.get((word or "").strip().lower())


def _of_entry(entry: HistoryEntry) -> Said | None:
    standing = standing_of(entry.status)
    if standing is None or standing == "unknown":
        return None
    return Said(
        standing,
        _percent(entry.progress),
        entry.message,
        entry.message if standing == "failed" else None,
        None,
        entry.timestamp,
        entry.model_dump(mode="json", exclude_none=True),
    )


def _percent(fraction: float | None) -> float | None:
    """A task's progress is 0 to 1 here. Rounded, or 0.07 would be 7.000000000000001 %."""
    return None if fraction is None else min(max(round(fraction * 100, 6), 0.0), 100.0)
