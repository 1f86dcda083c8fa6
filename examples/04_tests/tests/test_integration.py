"""The application and everything between it and MoRAG: signatures, the inbox, the order of events, whole documents."""

from pathlib import Path

import app

from morag_client import MoragClient
from morag_client.testing import FaultPlan, MockMorag, faults
from morag_client.testing.fixtures import MoragEvents, MoragPipeline, MoragReceiver


def test_a_whole_pipeline(morag_pipeline: MoragPipeline) -> None:
    run = morag_pipeline(document_id="report")
    assert app.catalogue == {"report": run["ingestion.completed"].data.chunks_ingested}


def test_a_pipeline_that_fails(morag_pipeline: MoragPipeline) -> None:
    morag_pipeline(fail_at="chunking")
    assert app.catalogue == {}
    assert [problem.partition(":")[0] for problem in app.problems] == ["chunking.failed", "task.failed"]


def test_what_arrives_twice_counts_once(morag_pipeline: MoragPipeline) -> None:
    run = morag_pipeline(fail_at="chunking", faults=FaultPlan(faults.duplicate(times=3)))
    assert len(run.deliveries) > len(run.events)
    assert len(app.problems) == 2


def test_a_document_from_the_submission_on(
    mock_morag: MockMorag, morag_receiver: MoragReceiver, morag_events: MoragEvents, tmp_path: Path
) -> None:
    document = tmp_path / "notes.md"
    document.write_text("# Notes\n\n" + "Lighthouses stand on rocks. " * 40)
    with MoragClient(base_url=mock_morag.url, api_key="test-api-key") as morag:
        task = morag.ingest_file(document, webhook_url=morag_receiver.webhook_url)
    morag_events.wait_for("task.completed", task=task.task_id, timeout=20)
    assert len(app.catalogue) == 1
