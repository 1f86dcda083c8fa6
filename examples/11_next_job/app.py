"""Starts the next job when MoRAG is through with a document: its chunks are fetched, and the job stands in a table.

`uvicorn app:app --port 8001` receives, `python app.py submit FILE…` submits documents, `python app.py work` does the
jobs that are there.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

from sqlalchemy import make_url, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from starlette.applications import Starlette
from starlette.routing import Mount

from morag_client import AsyncMoragClient, ChunkingCompleted, Discard, Receiver, TaskCompleted, on

DATABASE_URL = os.environ.get("MORAG_DATABASE_URL", "sqlite:///morag.db")
CHUNKS = Path(os.environ.get("CHUNKS_FOLDER", "chunks"))

# The server and the key are MORAG_API_URL and MORAG_API_KEY.
morag = AsyncMoragClient()


class Base(DeclarativeBase):
    pass


class Job(Base):
    __tablename__ = "jobs"
    task_id: Mapped[str] = mapped_column(primary_key=True)
    document: Mapped[str]
    chunks_file: Mapped[str]
    is_done: Mapped[bool] = mapped_column(default=False)


# What it raises, it is tried again for: with all of it, so everything here may happen twice.
@on("task.completed")
async def start_next_job(event: TaskCompleted, receiver: Receiver, session: AsyncSession) -> None:
    if event.task_id is None:
        raise Discard("a job is known by its task")
    # The same file again, whole or not there at all. It comes first: the transaction begins with the first statement,
    # and is not to wait for the network.
    to = CHUNKS / f"{event.task_id}.json"
    if (url := await chunks_url(receiver, event.task_id)) is not None:
        await morag.download(url, to=to)
    else:  # r1 and r2 name none
        await morag.download(event.task_id, "chunks.json", to=to)
    # The job and the note that this handler is through are stored together, or not at all. A replay finds it there.
    if await session.get(Job, event.task_id) is None:
        document = event.correlation.get("document", "unnamed")
        session.add(Job(task_id=event.task_id, document=document, chunks_file=str(to)))


async def chunks_url(receiver: Receiver, task_id: str) -> str | None:
    """Where the chunks are, as an earlier webhook of the task said."""
    async with aclosing(receiver.task_events(task_id)) as events:
        async for event in events:
            if isinstance(event, ChunkingCompleted) and event.data.chunks_file_url:
                return event.data.chunks_file_url
            if event.name == "task.completed":
                break  # or it would wait for what comes after it
    return None


receiver = Receiver(
    signing_key=os.environ.get("MORAG_SIGNING_KEY", "replace-me by a long random text"),
    public_url=os.environ.get("MORAG_PUBLIC_URL", "http://127.0.0.1:8001"),
    database_url=DATABASE_URL,
    client=morag,  # with it, the receiver also asks about tasks whose end it was not told
)


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    await asyncio.to_thread(CHUNKS.mkdir, exist_ok=True)
    async with jobs_database(), morag, receiver.lifespan():
        yield


app = Starlette(routes=[Mount("/", receiver)], lifespan=lifespan)


async def submit(paths: list[str]) -> None:
    async with morag:
        for path in paths:
            task = await morag.ingest_file(path, webhook=receiver, correlation={"document": Path(path).name})
            print(f"{path}: submitted as {task.task_id}")


async def work() -> None:
    """The next program in the row; here it only counts."""
    async with jobs_database() as engine, AsyncSession(engine) as session:
        for job in await session.scalars(select(Job).where(~Job.is_done).order_by(Job.document)):
            chunks = json.loads(await asyncio.to_thread(Path(job.chunks_file).read_bytes))
            print(f"{job.document}: {len(chunks)} chunks")
            job.is_done = True
        await session.commit()


@asynccontextmanager
async def jobs_database() -> AsyncIterator[AsyncEngine]:
    """The inbox's database, with a table of ours."""
    url = make_url(DATABASE_URL)
    driver = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}[url.get_backend_name()]
    engine = create_async_engine(url.set(drivername=driver))
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    try:
        yield engine
    finally:
        await engine.dispose()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["submit", *paths] if paths:
            asyncio.run(submit(paths))
        case ["work"]:
            asyncio.run(work())
        case _:
            sys.exit("usage: python app.py submit FILE…, or python app.py work")
