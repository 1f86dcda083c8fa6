"""Samples and fixtures in tests, as they are annotated."""

import asyncio
from typing import assert_type

from morag_client import ChunkingCompleted, Event, Receiver, Registry, TaskFailed
from morag_client.testing import Emitter, FaultPlan, MockMorag, faults, samples
from morag_client.testing.fixtures import MoragEvents, MoragPipeline, MoragReceiver, PipelineRun


async def index(event: ChunkingCompleted) -> int:
    return event.data.chunks_created or 0


async def test_calls_a_handler() -> None:
    assert await index(samples.event("chunking.completed", chunks_created=3)) == 3
    assert_type(samples.event("chunking.completed"), ChunkingCompleted)
    assert_type(samples.event(TaskFailed, error="no disk"), TaskFailed)
    assert_type(samples.body("task.lost"), bytes)


def test_runs_a_pipeline(morag_registry: Registry, morag_pipeline: MoragPipeline) -> None:
    assert_type(morag_registry, Registry)
    run = morag_pipeline(fail_at="chunking", dialect="flat_step", raise_errors=False)
    assert_type(run, PipelineRun)
    assert_type(run[ChunkingCompleted], ChunkingCompleted)
    assert_type(run.events, tuple[Event, ...])
    morag_pipeline(faults=FaultPlan(faults.duplicate(times=2), seed=1))


async def test_in_its_own_loop(morag_receiver: MoragReceiver, morag_pipeline: MoragPipeline) -> None:
    async with morag_receiver.here() as receiver:
        assert_type(receiver, Receiver)
        assert_type(await asyncio.to_thread(morag_pipeline, task_id="t"), PipelineRun)


def test_waits(morag_events: MoragEvents, morag_emitter: Emitter, mock_morag: MockMorag) -> None:
    assert_type(morag_emitter.send_task_started(task_id="t"), bool)
    assert_type(morag_events.wait_for(TaskFailed, task="t", timeout=3), TaskFailed)
    assert_type(mock_morag.url, str)
