from morag_client import ChunkingCompleted
from morag_client.testing import samples
from morag_client.testing.fixtures import MoragEvents, MoragPipeline

samples.event("chunking.completed").data.chunk_created  # error
samples.event(str)  # error
samples.event(ChunkingCompleted).result.embeddings_stored  # error


def test_wrong(morag_pipeline: MoragPipeline, morag_events: MoragEvents) -> None:
    morag_pipeline(failat="chunking")  # error
    morag_pipeline(dialect="flat")  # error
    morag_events.wait_for("task.failed", seconds=3)  # error
    morag_events.wait_for(ChunkingCompleted).data.chunk_created  # error
