"""Which event a test means by a name or a class."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Final

from morag_client.errors import ConfigurationError
from morag_client.events.catalog import KNOWN, canonical_pattern, is_known, nearest_known
from morag_client.events.names import STAGES, StepStatus, step_event_name
from morag_client.events.types import (
    Event,
    StageCompleted,
    StageEvent,
    StageFailed,
    StageSkipped,
    StepCompleted,
    StepFailed,
    StepStarted,
)

_STEP_STATUSES: Final[Mapping[type[Event], StepStatus]] = {
    StepStarted: "started",
    StepCompleted: "completed",
    StepFailed: "failed",
}
_STAGE_STATUSES: Final[Mapping[type[Event], str]] = {
    StageCompleted: "completed",
    StageFailed: "failed",
    StageSkipped: "skipped",
}
_NAMES: Final[Mapping[type[Event], str]] = {cls: name for name, cls in KNOWN.items() if not issubclass(cls, StageEvent)}
SAMPLE_STAGE: Final = "chunker"


def named(kind: str | type[Event], fields: Mapping[str, Any]) -> str:
    """The name of the event that is meant: `chunking.completed`.

    A class of several events takes the `step` or `stage` among the fields. Raises ConfigurationError, naming the
    nearest, where there is no such event.
    """
    if isinstance(kind, str):
        name = canonical_pattern(kind)
        if "*" in name or not is_known(name):
            raise ConfigurationError(f"there is no event {kind!r}; did you mean {nearest_known(name)!r}?")
        return name
    if kind in _NAMES:
        return _NAMES[kind]
    if kind in _STEP_STATUSES:
        if "step" not in fields:
            raise ConfigurationError(f"{kind.__name__} is of any step: say which, as in step='ocr'")
        return step_event_name(str(fields["step"]), _STEP_STATUSES[kind])
    if kind in _STAGE_STATUSES:
        stage = fields.get("stage", SAMPLE_STAGE)
        if stage not in STAGES:
            raise ConfigurationError(f"there is no stage {stage!r}; it is one of {', '.join(STAGES)}")
        return f"stage.{stage}.{_STAGE_STATUSES[kind]}"
    below = sorted(cls.__name__ for cls in {*KNOWN.values(), *_STEP_STATUSES} if issubclass(cls, kind))
    raise ConfigurationError(f"{kind.__name__} is many events; choose one of {', '.join(below)}")


def nearest(field: str, known: list[str]) -> str:
    """The name that is closest to one that is wrong."""
    return max(known, key=lambda name: difflib.SequenceMatcher(None, field, name).ratio())
