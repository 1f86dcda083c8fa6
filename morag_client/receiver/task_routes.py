"""`/api/tasks`: how tasks are, and one of them live as server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import to_jsonable_python
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from morag_client.errors import AuthenticationError, ConfigurationError, RecordNotFound
from morag_client.progress.scopes import Scope, covered
from morag_client.progress.state import TaskState
from morag_client.progress.updates import Update
from morag_client.receiver.progress import ProgressGate

if TYPE_CHECKING:
    from morag_client.receiver.lifecycle import Lifecycle
    from morag_client.receiver.receiver import Receiver

HEARTBEAT: Final = 15.0
"""Seconds between two comments, without which proxies end a stream that is silent."""

_STREAMED: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}


class TaskRoutes:
    """The endpoints, without what guards them."""

    def __init__(self, receiver: Receiver, lifecycle: Lifecycle, gate: ProgressGate) -> None:
        self._receiver = receiver
        self._lifecycle = lifecycle
        self._gate = gate

    async def may_follow(self, request: Request) -> bool:
        """Whether a request may follow the one task that its path names: by a progress token as its bearer token."""
        try:
            scopes = await self._gate.of_bearer(request)
        except AuthenticationError:
            return False
        if covered(scope_of_request(request), scopes):
            return True
        try:
            task = await self._receiver.tasks.get(request.path_params["task_id"], tenant=_tenant(request))
        except RecordNotFound:
            return False
        return any(scope.matches(scope_of_request(request).key or b"", task) for scope in scopes)

    async def list(self, request: Request, *, limit: int) -> Response:
        """The tasks whose first events came last."""
        wanted = {name: request.query_params.get(name) for name in ("state", "document_id", "tenant")}
        try:
            tasks = await self._receiver.tasks.list(limit=limit, **wanted)  # type: ignore[arg-type]  # it has a look
        except ConfigurationError as error:  # what was asked for cannot be
            raise ValueError(str(error)) from None
        return JSONResponse({"tasks": [described(task) for task in tasks]})

    async def one(self, request: Request) -> Response:
        """One task."""
        try:
            task = await self._receiver.tasks.get(request.path_params["task_id"], tenant=_tenant(request))
        except RecordNotFound as error:
            return JSONResponse({"detail": str(error)}, 404)
        return JSONResponse(described(task))

    async def events(self, request: Request) -> Response:
        """One task, live: its last state first, then each update; it goes on after the end, which may be reopened."""
        last_id = request.headers.get("last-event-id", "")
        after = int(last_id) if last_id.isascii() and last_id.isdigit() and len(last_id) < len(str(2**63)) else 0
        runtime = await self._lifecycle.runtime()
        await runtime.inbox.ping()  # once a stream has begun, there is no other answer
        updates = runtime.live.follow(scope_of_request(request))
        return StreamingResponse(_stream(updates, after=after), media_type="text/event-stream", headers=_STREAMED)


def scope_of_request(request: Request) -> Scope:
    """The task that a path names."""
    return Scope("task", _tenant(request), request.path_params["task_id"])


def described(task: TaskState) -> dict[str, Any]:
    """A task as JSON can say it."""
    fields = asdict(task)
    fields["seconds"] = task.seconds
    for name, step in task.steps.items():
        fields["steps"][name]["seconds"] = step.seconds
    return dict(to_jsonable_python(fields))


async def _stream(updates: AsyncGenerator[Update, None], *, after: int) -> AsyncIterator[bytes]:
    """Updates as server-sent events, with comments in between; those up to `after` the client has had."""
    yield b": live\n\n"
    upcoming = asyncio.ensure_future(anext(updates))
    try:
        while True:
            await asyncio.wait([upcoming], timeout=HEARTBEAT)
            if not upcoming.done():
                yield b": still here\n\n"
                continue
            try:
                update = upcoming.result()
            except StopAsyncIteration:
                return
            if not update.is_late and update.sequence > after:
                yield _event(update)
            upcoming = asyncio.ensure_future(anext(updates))
    finally:
        upcoming.cancel()
        await asyncio.wait([upcoming])
        await updates.aclose()


def _event(update: Update) -> bytes:
    text = json.dumps(update.message, separators=(",", ":"))
    return f"event: task_update\nid: {update.sequence}\ndata: {text}\n\n".encode()


def _tenant(request: Request) -> str:
    return request.query_params.get("tenant", "")
