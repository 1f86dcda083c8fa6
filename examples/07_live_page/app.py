"""The page of MoRAG's webhook guide, live. Serve it with `uvicorn app:app` and open http://127.0.0.1:8000/."""

import os
from pathlib import Path

from starlette.applications import Starlette
from starlette.responses import FileResponse
from starlette.routing import Mount, Route

from morag_client import Event, Receiver, Registry

registry = Registry()


@registry.on("task.completed")
async def say(event: Event) -> None:
    print(f"{event.task_id} is done")


receiver = Receiver(
    registry=registry,
    secrets=os.environ.get("MORAG_WEBHOOK_SECRET", "replace-me"),
    database_url=os.environ.get("MORAG_DATABASE_URL", "sqlite:///morag.db"),
    inspect=True,  # for a developer's machine: pages of this very machine may follow every task, without any token
)


async def page(_: object) -> FileResponse:
    return FileResponse(Path(__file__).with_name("page.html"))


app = Starlette(routes=[Route("/", page), Mount("/", receiver)], lifespan=receiver.lifespan)
