"""What happens to a task, before it is put into any dialect's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One thing that happened to a task; `name` is the event's (`chunking.completed`), progress is in percent."""

    name: str
    task_id: str
    document_id: str | None = None
    progress: float = 0.0
    step: str | None = None
    message: str | None = None
    data: Mapping[str, Any] | None = None
    result: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] | None = None
    error: str | None = None
    error_details: Mapping[str, Any] | None = None
    seconds: float = 0.0
    """How long the step took that ended here, or the whole task."""
    source: str = "document"
    """The document's file name."""
    story: tuple[Moment, ...] = ()
    """The ends of the task's earlier steps: what r3's bodies count and list."""

    @property
    def status(self) -> str:
        """`started`, `progress`, `completed` or `failed`."""
        return self.name.rpartition(".")[2]

    @property
    def ends_step(self) -> bool:
        """Whether a step ended here, well or not."""
        return self.step is not None and self.status != "started"

    @property
    def ends_task(self) -> bool:
        """Whether the task ended here, well or not."""
        return self.step is None and self.status in {"completed", "failed"}
