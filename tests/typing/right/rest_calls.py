"""The REST clients: each call has the parameters and the answer of its description, in both."""

import asyncio
from pathlib import Path
from typing import assert_type

from morag_client import ApiError, AsyncMoragClient, MoragClient, RateLimited, Receiver
from morag_client.api import (
    ActiveTasks,
    BatchSubmission,
    ChainRun,
    Processed,
    StageFile,
    StageList,
    StageRun,
    Submission,
    TaskFiles,
    TaskHistory,
    TaskStatus,
)


def ask(client: MoragClient, receiver: Receiver) -> None:
    submitted = client.ingest_file(
        Path("a.pdf"),
        webhook=receiver,
        correlation={"document": 42},
        on_progress=lambda sent, total: sent * total,
    )
    assert_type(submitted, Submission)
    assert_type(client.ingest_file("a.pdf", metadata={"a": 1}), Submission)
    assert_type(client.ingest_url("https://example.com", webhook_url="https://app.example.com/hook"), Submission)
    assert_type(client.ingest_batch(["https://example.com", {"url": "https://example.com/2"}]), BatchSubmission)
    assert_type(client.process("a.pdf", mode="convert", timeout_seconds=600), Processed)
    assert_type(client.status(submitted.task_id), TaskStatus)
    assert_type(client.history(submitted.task_id), TaskHistory)
    assert_type(client.active_tasks(), ActiveTasks)
    assert_type(client.list_files(submitted.task_id), TaskFiles)
    assert_type(client.download("/api/files/temp/t/markdown.md", to="."), Path)
    assert_type(client.download_bytes("t", "markdown.md", max_bytes=10), bytes)
    assert_type(client.stages.list(), StageList)
    assert_type(client.stages.execute("chunker", input_files=["output/j/a.md"], webhook=receiver), StageRun)
    assert_type(client.stages.chain(["chunker"], "a.pdf"), ChainRun)
    assert_type(client.files.info("output/j/a.md"), StageFile)
    assert_type(client.files.download("output/j/a.md", to=Path()), Path)


async def ask_on_a_loop(client: AsyncMoragClient, receiver: Receiver) -> None:
    assert_type(await client.ingest_file("a.pdf", webhook=receiver, correlation={"document": 42}), Submission)
    assert_type(await client.status("t"), TaskStatus)
    assert_type(await client.download("t", "markdown.md", to="."), Path)
    assert_type(await client.stages.list(), StageList)
    assert_type(await client.files.info("x/a.md"), StageFile)
    await asyncio.gather(client.status("a"), client.status("b"))
    task = asyncio.create_task(client.history("t"))
    assert_type(await task, TaskHistory)


def failed(error: RateLimited) -> float | None:
    assert isinstance(error, ApiError)
    return error.retry_after
