"""Dialects 5 to 8: r3's, which speak of stages, of the pipeline and of chains of stages."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Final

from morag_client.events.names import STAGES
from morag_client.testing import bodies
from morag_client.testing.bodies import Json
from morag_client.testing.moments import Moment
from morag_client.testing.wording.words import Words

DIALECTS: Final = ("stage_completed", "pipeline_completed", "stage_result", "stage_chain")

STAGE_OF: Final = dict(
    zip(("markdown_conversion", "content_processing", "chunking", "graph_extraction", "ingestion"), STAGES, strict=True)
)
"""The stage of r3 that does what a step of the guide does; metadata extraction is no stage there."""

_OUTPUT: Final = dict(zip(STAGES, (".md", ".opt.md", ".chunks.json", ".facts.json", ".ingestion.json"), strict=True))


def stage_completed(moment: Moment, now: datetime) -> Words | None:
    if not _ends_stage(moment):
        return None
    stage = STAGE_OF[moment.step or ""]
    body = bodies.stage_completed(
        stage={
            **_outcome(moment),
            "start_time": bodies.naive(now - timedelta(seconds=moment.seconds)),
            "end_time": bodies.naive(now),
        },
        files={"input_files": [moment.source], "output_files": _output_files(moment)},
        context={
            **_context(moment),
            "total_stages_completed": _count([*moment.story, moment], "completed"),
            "total_stages_failed": _count([*moment.story, moment], "failed"),
        },
        metadata={"document_id": moment.document_id} if moment.document_id else {},
    )
    return Words(f"stage.{stage}.{moment.status}", "stage_completed", body)


def pipeline_completed(moment: Moment, _now: datetime) -> Words | None:
    if not moment.ends_task:
        return None
    ended = [step for step in moment.story if _ends_stage(step)]
    body = bodies.pipeline_completed(
        pipeline={
            "success": moment.status == "completed",
            "error_message": moment.error,
            "total_execution_time": moment.seconds,
            "stages_completed": _count(ended, "completed"),
            "stages_failed": _count(ended, "failed"),
            "stages_skipped": 0,
        },
        context={
            **_context(moment),
            "intermediate_files": [path for step in ended for path in _output_files(step)],
        },
        stages=[{**_outcome(step), "output_files": _output_files(step)} for step in ended],
    )
    return Words(f"pipeline.{moment.status}", "pipeline_completed", body)


def stage_result(moment: Moment, now: datetime) -> Words | None:
    if not _ends_stage(moment):
        return None
    stage = STAGE_OF[moment.step or ""]
    body = bodies.stage_result(
        now=now,
        job_id=moment.task_id,
        stage_type=stage,
        success=moment.status == "completed",
        output_files=_output_files(moment),
        execution_time=moment.seconds,
        error_message=moment.error,
    )
    return Words(f"stage.{stage}.{moment.status}", "stage_result", body)


def stage_chain(moment: Moment, now: datetime) -> Words | None:
    if not moment.ends_task:
        return None
    ended = [step for step in moment.story if _ends_stage(step)]
    body = bodies.stage_chain(
        now=now,
        success=moment.status == "completed",
        total_execution_time=moment.seconds,
        stages_executed=len(ended),
        stages_successful=_count(ended, "completed"),
        stages_failed=_count(ended, "failed"),
    )
    return Words(f"chain.{moment.status}", "stage_chain", body)


def _ends_stage(moment: Moment) -> bool:
    return moment.ends_step and moment.step in STAGE_OF


def _outcome(moment: Moment) -> Json:
    return {
        "type": STAGE_OF[moment.step or ""],
        "status": moment.status,
        "execution_time": moment.seconds,
        "error_message": moment.error,
    }


def _context(moment: Moment) -> Json:
    return {"source_path": moment.source, "output_dir": f"output/{moment.task_id}"}


def _output_files(moment: Moment) -> list[str]:
    if moment.status != "completed":
        return []
    ending = _OUTPUT[STAGE_OF[moment.step or ""]]
    return [f"output/{moment.task_id}/{PurePosixPath(moment.source).stem}{ending}"]


def _count(moments: list[Moment], status: str) -> int:
    return sum(moment.status == status for moment in moments if _ends_stage(moment))
