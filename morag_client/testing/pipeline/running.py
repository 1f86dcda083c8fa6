"""A task's whole way through the pipeline, moment by moment."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from morag_client.events.names import STEPS
from morag_client.testing.moments import Moment
from morag_client.testing.pipeline.document import StepFailure
from morag_client.testing.pipeline.steps import PERFORM, Work, result_of

_STEP_ENDS_AT: Final = dict(zip(STEPS, (25.0, 40.0, 70.0, 80.0, 90.0, 100.0), strict=True))
"""The guide's progress in percent at the end of each step; a step begins where the one before it ended."""

_MILESTONES: Final = (25.0, 50.0, 75.0)
# The guide's example of a failure: 10 % into a step that takes the first 25 %.
_FAILS_AFTER: Final = 0.4

logger = logging.getLogger("morag_client.testing")

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a task shall go: the step at which it fails, and whether milestones are told by `task_progress`."""

    fail_at: str | None = None
    progress_events: bool = False


def run(work: Work, *, clock: Clock, plan: Plan | None = None) -> Iterator[Moment]:
    """Works on the document while it is iterated: 14 moments, 17 with milestones, fewer where a step fails.

    Times in the data are those between two moments, by the clock (seconds from anywhere).
    """
    return _Run(work, clock, plan or Plan()).moments()


@dataclass(slots=True)
class _Run:
    work: Work
    clock: Clock
    plan: Plan
    ended: list[Moment] = field(default_factory=list)

    def moments(self) -> Iterator[Moment]:
        elapsed = self._stopwatch()
        progress = 0.0
        yield self._moment("task.started", message="Task processing started", metadata=self.work.document.metadata)
        for step in STEPS:
            begins, progress = progress, _STEP_ENDS_AT[step]
            try:
                yield from self._step(step, begins, progress, elapsed)
            except StepFailure as failure:
                yield from self._failed(step, begins + _FAILS_AFTER * (progress - begins), failure, elapsed)
                return
        yield self._moment(
            "task.completed",
            progress=100.0,
            message="Task completed successfully",
            result=result_of(self.work, elapsed),
            metadata=self.work.document.metadata,
            seconds=elapsed(),
        )

    def _step(self, step: str, begins: float, ends: float, task_elapsed: Clock) -> Iterator[Moment]:
        elapsed = self._stopwatch()
        yield self._moment(f"{step}.started", step=step, progress=begins)
        if step == self.plan.fail_at:
            raise StepFailure(f"{step} was told to fail", error_code="SIMULATED_FAILURE")
        yield from self._milestones(step, lambda milestone: begins < milestone < ends)
        data = self._perform(step, task_elapsed if step == "ingestion" else elapsed)
        yield self._moment(f"{step}.completed", step=step, progress=ends, data=data, seconds=elapsed())
        yield from self._milestones(step, lambda milestone: milestone == ends)

    def _perform(self, step: str, elapsed: Clock) -> dict[str, Any]:
        try:
            return PERFORM[step](self.work, elapsed)
        except StepFailure:
            raise
        except Exception as error:
            # Ours to mend; whoever waits for the task hears of its end all the same, as MoRAG's callers do.
            logger.exception("%s failed for %r", step, self.work.document.filename)
            raise StepFailure(f"{step} failed: {type(error).__name__}", error_code="INTERNAL_ERROR") from error

    def _failed(self, step: str, progress: float, failure: StepFailure, elapsed: Clock) -> Iterator[Moment]:
        yield self._moment(f"{step}.failed", step=step, progress=progress, error=str(failure), data=failure.details)
        yield self._moment(
            "task.failed",
            progress=progress,
            message=f"Task failed during {step}",
            error=str(failure),
            error_details={"stage": step, "step": step, "error_code": failure.details["error_code"]},
            metadata=self.work.document.metadata,
            seconds=elapsed(),
        )

    def _milestones(self, step: str, reached: Callable[[float], bool]) -> Iterator[Moment]:
        for milestone in _MILESTONES:
            if self.plan.progress_events and reached(milestone):
                yield self._moment(
                    "task.progress",
                    progress=milestone,
                    message=f"Processing: {step}",
                    metadata={"stage": step, "current_step": step},
                )

    def _moment(self, name: str, **said: Any) -> Moment:
        moment = Moment(
            name=name,
            task_id=self.work.task_id,
            document_id=self.work.document.document_id,
            source=self.work.document.filename,
            story=tuple(self.ended),
            **said,
        )
        if moment.ends_step:
            self.ended.append(moment)
        return moment

    def _stopwatch(self) -> Clock:
        began = self.clock()
        return lambda: round(self.clock() - began, 6)
