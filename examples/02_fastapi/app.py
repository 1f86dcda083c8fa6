"""A receiver inside a FastAPI application. Serve it with `uvicorn app:app`."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from morag_client import Receiver, Registry, TaskCompleted

registry = Registry()
finished: list[str] = []


@registry.on("task.completed")
async def remember(event: TaskCompleted) -> None:
    finished.append(event.document_id or "unnamed")


receiver = Receiver(
    registry=registry,
    secrets=os.environ.get("MORAG_WEBHOOK_SECRET", "replace-me"),
    database_url=os.environ.get("MORAG_DATABASE_URL", "sqlite:///morag.db"),
)


# A mounted application's own lifespan is not run by the framework: ours goes into that of the parent.
@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with receiver.lifespan():
        yield


app = FastAPI(lifespan=lifespan)
app.mount("/morag", receiver)


@app.get("/finished")
async def list_finished() -> list[str]:
    return finished
