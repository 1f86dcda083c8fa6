"""A page on which one uploads a document and sees how far it is. Serve it with `uvicorn app:app --port 8001`."""

import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.middleware.sessions import SessionMiddleware

from morag_client import AsyncMoragClient, MoragError, Receiver, Registry, TaskCompleted

logger = logging.getLogger("uvicorn.error")
registry = Registry()


@registry.on("task.completed")
async def say(event: TaskCompleted) -> None:
    print(f"{event.task_id} of visitor {event.correlation['visitor']} is done")


receiver = Receiver(
    registry=registry,
    # Makes and proves the URLs that MoRAG posts to: it needs no secret for that, and the URL says whose document it is.
    signing_key=os.environ.get("MORAG_SIGNING_KEY", "replace-me by a long random text"),
    # Where MoRAG reaches this application, with the prefix of the mount.
    public_url=os.environ.get("MORAG_PUBLIC_URL", "http://127.0.0.1:8001/morag"),
    database_url=os.environ.get("MORAG_DATABASE_URL", "sqlite:///morag.db"),
)


# Frameworks do not run the lifespan of what is mounted. The client belongs to the application's event loop, too.
@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with receiver.lifespan(), AsyncMoragClient() as client:
        app.state.morag = client
        yield


app = FastAPI(lifespan=lifespan)
app.mount("/morag", receiver)
app.add_middleware(
    SessionMiddleware, secret_key=os.environ.get("SESSION_KEY", "replace-me by another one"), same_site="lax"
)


def visitor_of(request: Request) -> str:
    """Who asks; yours is who has logged in."""
    return str(request.session.setdefault("visitor", secrets.token_hex(8)))


def client_of(request: Request) -> AsyncMoragClient:
    client: AsyncMoragClient = request.app.state.morag
    return client


Visitor = Annotated[str, Depends(visitor_of)]
Client = Annotated[AsyncMoragClient, Depends(client_of)]


@app.get("/")
async def page() -> FileResponse:
    return FileResponse(Path(__file__).with_name("page.html"))


@app.post("/documents", status_code=202)
async def submit(file: UploadFile, visitor: Visitor, client: Client) -> dict[str, str]:
    # MoRAG reads a document by its suffix. The rest of a name that comes from outside stays out of our paths.
    with tempfile.NamedTemporaryFile(suffix=Path(file.filename or "").suffix[:10]) as copy:
        await run_in_threadpool(shutil.copyfileobj, file.file, copy)
        await run_in_threadpool(copy.flush)
        try:
            task = await client.ingest_file(copy.name, webhook=receiver, correlation={"visitor": visitor})
        except MoragError as error:
            logger.error("MoRAG did not take a document: %s", error)
            raise HTTPException(502, "the document could not be submitted") from None
    return {"task_id": task.task_id, "events": f"/documents/{task.task_id}/events"}


@app.get("/documents/{task_id}/events", response_class=EventSourceResponse)
async def follow(task_id: str, visitor: Visitor) -> AsyncIterator[ServerSentEvent]:
    # It waits for a task of which no webhook has come yet, and ends with the task's end.
    async with aclosing(receiver.tasks.watch(task_id)) as states:
        async for task in states:
            if task.correlation.get("visitor") != visitor:
                return
            shown = {"state": task.state, "percent": task.progress, "step": task.step, "error": task.error}
            yield ServerSentEvent(event="progress", id=str(task.sequence), data=shown)
