"""Which class an event's name has, and which names a pattern means."""

from __future__ import annotations

import difflib
import re
from typing import Final

from morag_client.events import types
from morag_client.events.names import (
    OTHER_STEPS,
    RESERVED,
    STAGE_STATUSES,
    STAGES,
    STEP_STATUSES,
    UNKNOWN,
    from_guide,
)
from morag_client.events.types import Event

_STEP_CLASSES: Final[dict[str, type[Event]]] = {
    "started": types.StepStarted,
    "completed": types.StepCompleted,
    "failed": types.StepFailed,
}
_STAGE_CLASSES: Final[dict[str, type[Event]]] = {
    "completed": types.StageCompleted,
    "failed": types.StageFailed,
    "skipped": types.StageSkipped,
}

KNOWN: Final[dict[str, type[Event]]] = {
    "task.started": types.TaskStarted,
    "task.progress": types.TaskProgress,
    "task.completed": types.TaskCompleted,
    "task.failed": types.TaskFailed,
    "task.cancelled": types.TaskCancelled,
    "task.lost": types.TaskLost,
    "markdown_conversion.started": types.MarkdownConversionStarted,
    "markdown_conversion.completed": types.MarkdownConversionCompleted,
    "markdown_conversion.failed": types.MarkdownConversionFailed,
    "metadata_extraction.started": types.MetadataExtractionStarted,
    "metadata_extraction.completed": types.MetadataExtractionCompleted,
    "metadata_extraction.failed": types.MetadataExtractionFailed,
    "content_processing.started": types.ContentProcessingStarted,
    "content_processing.completed": types.ContentProcessingCompleted,
    "content_processing.failed": types.ContentProcessingFailed,
    "chunking.started": types.ChunkingStarted,
    "chunking.completed": types.ChunkingCompleted,
    "chunking.failed": types.ChunkingFailed,
    "graph_extraction.started": types.GraphExtractionStarted,
    "graph_extraction.completed": types.GraphExtractionCompleted,
    "graph_extraction.failed": types.GraphExtractionFailed,
    "ingestion.started": types.IngestionStarted,
    "ingestion.completed": types.IngestionCompleted,
    "ingestion.failed": types.IngestionFailed,
    **{f"stage.{stage}.{status}": _STAGE_CLASSES[status] for stage in STAGES for status in STAGE_STATUSES},
    "pipeline.completed": types.PipelineCompleted,
    "pipeline.failed": types.PipelineFailed,
    "chain.completed": types.ChainCompleted,
    "chain.failed": types.ChainFailed,
    UNKNOWN: types.UnknownEvent,
}
"""Every name that is known beforehand. Names of other steps exist too: `<step>.started|completed|failed`."""

_STEP_EVENT = re.compile(r"([a-z0-9_-]{1,64})\.(started|completed|failed)", re.ASCII)
_FILLINGS: Final = ("", "x", *STEP_STATUSES, *(f"x.{status}" for status in STEP_STATUSES))


def event_class(name: str) -> type[Event]:
    """The class of the event with this name."""
    known = KNOWN.get(name)
    if known is not None:
        return known
    return _STEP_CLASSES.get(name.rpartition(".")[2], types.UnknownEvent)


def canonical_pattern(pattern: str) -> str:
    """The pattern in its one spelling: `chunking` is `chunking.*`, the guide's `task_completed` is `task.completed`."""
    pattern = from_guide(pattern)
    if pattern in {UNKNOWN, "*"} or "." in pattern or "*" in pattern:
        return pattern
    return f"{pattern}.*"


def matches(pattern: str, name: str) -> bool:
    """Whether a canonical pattern means this name; `*` stands for any characters, over segments too."""
    head, star, rest = pattern.partition("*")
    if not star:
        return pattern == name
    if not name.startswith(head):
        return False
    at = len(head)
    pieces = rest.split("*")
    for piece in pieces[:-1]:
        found = name.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    return len(name) - at >= len(pieces[-1]) and name.endswith(pieces[-1])


def producible(pattern: str) -> frozenset[type[Event]]:
    """The classes of all events that a canonical pattern can mean, unlisted steps included; empty if it means none."""
    names = {name for name in KNOWN if matches(pattern, name)}
    names |= {name for name in (pattern.replace("*", filling) for filling in _FILLINGS) if _is_step_event(name)}
    return frozenset(event_class(name) for name in names)


_GUIDES_WORDS: Final = {
    **{f"step_{status}": f"*.{status}" for status in STEP_STATUSES},
    **{f"stage_{status}": f"stage.*.{status}" for status in STAGE_STATUSES},
    "stage_chain_completion": "chain.*",
}
"""Words of the wire that name no single event, and the pattern that says the same."""


def is_known(pattern: str) -> bool:
    """Whether a canonical pattern means an event that some MoRAG release is known to send."""
    return any(matches(pattern, name) for name in _SENT)


def nearest_known(pattern: str) -> str:
    """The known name that is closest to a canonical pattern."""
    if pattern.removesuffix(".*") in _GUIDES_WORDS:
        return _GUIDES_WORDS[pattern.removesuffix(".*")]
    families = {name.rpartition(".")[0] for name in _SENT if "." in name}
    candidates = [*_SENT, *(f"{family}.*" for family in sorted(families))]
    return max(candidates, key=lambda name: difflib.SequenceMatcher(None, pattern, name).ratio())


def _is_step_event(name: str) -> bool:
    found = _STEP_EVENT.fullmatch(name)
    return found is not None and (found[1] == "step" or found[1] not in RESERVED)


_SENT: Final = (
    *KNOWN,
    *(f"{step}.{status}" for step in ("step", *OTHER_STEPS) for status in STEP_STATUSES),
)
