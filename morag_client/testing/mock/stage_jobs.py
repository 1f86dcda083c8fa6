"""r3's jobs: a document, the stages that it went through, and the files that they left."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Final, Literal

from morag_client.events.names import STAGES, STEPS
from morag_client.testing.bodies import Json, naive
from morag_client.testing.mock.artefacts import media_type_of
from morag_client.testing.moments import Moment
from morag_client.testing.pipeline.document import Document, StepFailure
from morag_client.testing.pipeline.durations import realistic_seconds
from morag_client.testing.pipeline.steps import PERFORM, Work
from morag_client.testing.wording.stages import STAGE_OF

Status = Literal["completed", "failed", "skipped"]

STEP_OF: Final = {stage: step for step, stage in STAGE_OF.items()}
_ENDINGS: Final = dict(zip(STAGES, (".md", ".opt.md", ".chunks.json", ".facts.json", ".ingestion.json"), strict=True))

Wait = Callable[[float], None]
"""Waits so many seconds, or until the server stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFile:
    """A file that a stage left; `path` is what webhooks and answers name."""

    path: str
    stage: str
    created_at: datetime
    content: bytes = field(repr=False)

    def as_json(self) -> Json:
        """What r3 says of it."""
        name = PurePosixPath(self.path).name
        return {
            "filename": name,
            "file_path": self.path,
            "file_size": len(self.content),
            "created_at": naive(self.created_at),
            "stage_type": self.stage,
            "content_type": media_type_of(name),
            "checksum": None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a stage ended; times are aware UTC."""

    stage: str
    status: Status
    moment: Moment
    started_at: datetime
    ended_at: datetime
    file: StageFile | None


class Job:
    """One document's way through stages; one stage at a time."""

    def __init__(self, job_id: str, document: Document) -> None:
        self.job_id = job_id
        self.document = document
        self.current_stage: str | None = None
        self.outcomes: list[Outcome] = []
        self.files: dict[str, StageFile] = {}
        self.working = threading.RLock()
        self._work = Work(document, job_id)
        self._done: dict[str, Json] = {}

    @property
    def input_path(self) -> str:
        """The file that was uploaded, as answers name it."""
        return f"uploads/{self.job_id}/{self.document.filename}"

    def path_of(self, stage: str) -> str:
        """Where a stage leaves its file."""
        return f"output/{self.job_id}/{PurePosixPath(self.document.filename).stem}{_ENDINGS[stage]}"

    def run(self, stage: str, *, skip_existing: bool, speed: float, wait: Wait) -> Outcome:
        """Runs a stage, and without a word whatever it needs that was not done before."""
        with self.working:
            self.current_stage = stage
            began, started_at = time.perf_counter(), datetime.now(UTC)
            known = self.files.get(self.path_of(stage))
            status: Status = "skipped"
            error = None
            if known is None or not skip_existing:
                wait(speed * realistic_seconds(STEP_OF[stage], size_bytes=len(self.document.content)))
                status, error = self._perform(STEP_OF[stage])
                known = self._leave(stage) if status == "completed" else None
            moment = Moment(
                name=f"{STEP_OF[stage]}.{status}",
                task_id=self.job_id,
                step=STEP_OF[stage],
                error=error,
                seconds=round(time.perf_counter() - began, 6),
                source=self.document.filename,
                story=tuple(outcome.moment for outcome in self.outcomes),
            )
            outcome = Outcome(
                stage=stage,
                status=status,
                moment=moment,
                started_at=started_at,
                ended_at=datetime.now(UTC),
                file=known,
            )
            self.outcomes.append(outcome)
            self.current_stage = None
            return outcome

    def status(self) -> Json:
        """What `stages/status` answers."""
        files = sorted(self.files.values(), key=lambda file: STAGES.index(file.stage))
        done = [file.stage for file in files]
        last = self.outcomes[-1].status if self.outcomes else None
        if self.current_stage is not None:
            overall = "in_progress"
        else:
            overall = "not_started" if last is None else "failed" if last == "failed" else "completed"
        return {
            "job_id": self.job_id,
            "stages_completed": done,
            "current_stage": self.current_stage,
            "available_files": [file.as_json() for file in files],
            "overall_status": overall,
            "progress_percentage": 100 * len(done) / len(STAGES),
        }

    def _perform(self, wanted: str) -> tuple[Status, str | None]:
        began = time.perf_counter()
        try:
            for step in STEPS[: STEPS.index(wanted) + 1]:
                if step not in self._done or step == wanted:
                    self._done[step] = PERFORM[step](self._work, lambda: round(time.perf_counter() - began, 6))
        except StepFailure as failure:
            return "failed", str(failure)
        return "completed", None

    def _leave(self, stage: str) -> StageFile:
        file = StageFile(
            path=self.path_of(stage), stage=stage, created_at=datetime.now(UTC), content=self._content(stage)
        )
        self.files[file.path] = file
        return file

    def _content(self, stage: str) -> bytes:
        if stage in {"markdown-conversion", "markdown-optimizer"}:
            return self._work.markdown.encode()
        if stage == "chunker":
            return self._work.artefacts["chunks.json"]
        found = asdict(self._work.graph) if stage == "fact-generator" else self._done["ingestion"]
        return json.dumps(found, ensure_ascii=False, indent=2).encode()


def unknown_status(job_id: str | None) -> Json:
    """What `stages/status` answers for a job that nobody knows."""
    return {
        "job_id": job_id,
        "stages_completed": [],
        "current_stage": None,
        "available_files": [],
        "overall_status": "not_started",
        "progress_percentage": 0.0,
    }


class Jobs:
    """All jobs of a server, safe for its threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}

    def add(self, job: Job) -> None:
        """A new job."""
        with self._lock:
            self._jobs[job.job_id] = job

    def get(self, job_id: str) -> Job | None:
        """The job of this id."""
        return self._jobs.get(job_id)

    def owning(self, paths: Iterable[str]) -> Job | None:
        """The job that left the first of these files."""
        first = normal(next(iter(paths), ""))
        with self._lock:
            return next((job for job in self._jobs.values() if first in {*job.files, job.input_path}), None)

    def files(self) -> list[StageFile]:
        """All files, the newest first."""
        with self._lock:
            found = [file for job in self._jobs.values() for file in tuple(job.files.values())]
        return sorted(found, key=lambda file: file.created_at, reverse=True)

    def file(self, path: str) -> StageFile | None:
        """The file at a path."""
        return next((file for file in self.files() if file.path == normal(path)), None)


def normal(path: str) -> str:
    """A path as the server names it: `./output/x.md` is `output/x.md`."""
    return path.removeprefix("./").strip("/")
