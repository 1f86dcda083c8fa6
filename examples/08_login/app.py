"""Users log in, submit documents, and see the progress of their own. Serve it with `uvicorn app:app`."""

import hmac
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, RedirectResponse
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection

from morag_client import Event, Receiver, Registry

# Yours come from a database, and are hashed.
PASSWORDS = {"ada": "replace-me", "grace": "replace-me-too"}
registry = Registry()


@registry.on("task.completed")
async def say(event: Event) -> None:
    print(f"{event.task_id} of {event.correlation['user']} is done")


def authorize_progress(request: HTTPConnection) -> list[Mapping[str, Any]]:
    """A session follows the documents that its user has submitted, and no others."""
    user = request.session.get("user")
    return [{"correlation": {"user": user}}] if user else []


receiver = Receiver(
    registry=registry,
    # Signs webhook URLs: who submitted a document comes back with each of its events, and nobody can change it.
    signing_key=os.environ.get("MORAG_SIGNING_KEY", "replace-me by a long random text"),
    public_url=os.environ.get("MORAG_PUBLIC_URL", "https://app.example.com/morag"),
    database_url=os.environ.get("MORAG_DATABASE_URL", "sqlite:///morag.db"),
    authorize_progress=authorize_progress,
)

app = FastAPI(lifespan=receiver.lifespan)
app.mount("/morag", receiver)
# Around the mounted receiver too: that is how it knows who asks.
app.add_middleware(
    SessionMiddleware, secret_key=os.environ.get("SESSION_KEY", "replace-me by another one"), same_site="lax"
)


@app.get("/")
async def page() -> FileResponse:
    return FileResponse(Path(__file__).with_name("page.html"))


@app.post("/login")
async def login(request: Request) -> RedirectResponse:
    sent = parse_qs((await request.body()).decode())
    user, password = sent.get("user", [""])[0], sent.get("password", [""])[0]
    if not hmac.compare_digest(PASSWORDS.get(user, "").encode(), password.encode()) or not password:
        raise HTTPException(401, "no such user, or another password")
    request.session["user"] = user
    return RedirectResponse("/", status_code=303)


@app.post("/documents")
async def submit(request: Request) -> dict[str, str]:
    """Where MoRAG is to tell of the user's next document; submit it with this as its `webhook_url`."""
    user = request.session.get("user")
    if not user:
        raise HTTPException(401, "log in first")
    return {"webhook_url": receiver.webhook_url(user=user)}
