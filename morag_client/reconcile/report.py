"""What became of asking MoRAG."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Report:
    """What was asked and made; with a dry run, what would have been.

    `asked` are tasks, `made` events by name, of which `found` are of tasks that no webhook had told of; `running` and
    `unknown` are tasks that MoRAG says run, or says nothing of; `silent_without_id` cannot be asked about. `left` are
    those of which MoRAG gave no answer, so that `asked` and `left` are all. `errors` and `limits` are sentences.
    """

    asked: int = 0
    made: Counter[str] = field(default_factory=Counter)
    found: int = 0
    running: int = 0
    unknown: int = 0
    unchanged: int = 0
    silent_without_id: int = 0
    left: int = 0
    errors: list[str] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    is_supported: bool = True
    is_broken_off: bool = False
    """Whether it was no use to ask on."""
    wait: float | None = None
    """For how many seconds MoRAG asked not to be asked again."""

    @property
    def is_complete(self) -> bool:
        """Whether everything was asked and answered."""
        return not self.errors and not self.left and self.is_supported

    def as_json(self) -> dict[str, Any]:
        """All of it, as JSON can say it."""
        return {
            "asked": self.asked,
            "made": dict(self.made),
            "found": self.found,
            "running": self.running,
            "unknown": self.unknown,
            "unchanged": self.unchanged,
            "silent_without_id": self.silent_without_id,
            "left": self.left,
            "errors": self.errors,
            "limits": self.limits,
            "is_supported": self.is_supported,
        }
