"""The names of what can happen: `task.completed`, `chunking.failed`, `stage.chunker.skipped`, …"""

from __future__ import annotations

import re
from typing import Final, Literal

StepStatus = Literal["started", "completed", "failed"]

STEPS: Final = (
    "markdown_conversion",
    "metadata_extraction",
    "content_processing",
    "chunking",
    "graph_extraction",
    "ingestion",
)
"""The six steps of the guide, in the order of the pipeline. The set is open."""

OTHER_STEPS: Final = ("processing", "ingestor", "database_ingestion")
"""Steps that releases send beside the guide's: r2 names every failure `processing`."""

STEP_STATUSES: Final[tuple[StepStatus, ...]] = ("started", "completed", "failed")
TASK_STATUSES: Final = ("started", "progress", "completed", "failed", "cancelled", "lost")
STAGES: Final = ("markdown-conversion", "markdown-optimizer", "chunker", "fact-generator", "ingestor")
"""r3's stages; its later guide numbers them 1 to 5 in this order."""

STAGE_STATUSES: Final = ("completed", "failed", "skipped")
RESERVED: Final = frozenset({"task", "step", "stage", "pipeline", "chain", "unknown"})
UNKNOWN: Final = "unknown"

_STEP_NAME = re.compile(r"[a-z0-9_-]{1,64}", re.ASCII)

_FINAL = frozenset(
    {
        "task.completed",
        "task.failed",
        "task.cancelled",
        "task.lost",
        # r2 and r3 send one step of this name for any failure, and nothing after it.
        "processing.failed",
        "pipeline.completed",
        "pipeline.failed",
        "chain.completed",
        "chain.failed",
    }
)


def step_event_name(step: str, status: StepStatus) -> str:
    """`chunking.completed`; `step.completed` where the step's own name cannot be part of an event's name."""
    if step in RESERVED or _STEP_NAME.fullmatch(step) is None:
        return f"step.{status}"
    return f"{step}.{status}"


def stage_name(stage: object) -> str | None:
    """The stage's name, given MoRAG's word or number for it; None for anything else."""
    if isinstance(stage, str):
        return stage if stage in STAGES else None
    if isinstance(stage, int) and not isinstance(stage, bool) and 1 <= stage <= len(STAGES):
        return STAGES[stage - 1]
    return None


def is_final(name: str) -> bool:
    """Whether an event of this name ends its task."""
    return name in _FINAL


def guide_event_type(name: str) -> str:
    """The guide's spelling of an event's name: `task_completed`, `step_completed`, `stage_failed`, …"""
    kind, _, status = name.rpartition(".")
    if not kind:
        return name
    family = kind.partition(".")[0]
    return f"{family if family in RESERVED else 'step'}_{status}"


def from_guide(name: str) -> str:
    """`task.completed` for the guide's `task_completed`; any other name as it is."""
    family, separator, status = name.partition("_")
    return f"task.{status}" if separator and family == "task" and status in TASK_STATUSES else name
