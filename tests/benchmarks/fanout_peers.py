"""What live progress is held against: each takes a request, and tells everybody who is connected."""

from __future__ import annotations

import asyncio
import http
import json
import sys
from typing import Any, Final

import socketio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.http11 import Request as Upgrade, Response

MESSAGE: Final[dict[str, Any]] = {
    "event_type": "step_completed",
    "name": "chunking.completed",
    "task_id": "task-0000001",
    "document_id": "document-0000001",
    "progress_percent": 62.5,
    "state": "running",
    "sequence": 1,
    "message": "chunking completed",
    "result": None,
    "step": "chunking",
    "stage": None,
    "status": "completed",
    "error_message": None,
    "data": {"chunks_created": 12, "chunk_size": 1000},
    "timestamp": "2026-01-15T10:34:00.250000Z",
}
"""What the receiver sends for the webhooks of fanout.py, in size and form."""

_server = socketio.AsyncServer(async_mode="asgi")


async def _webhook(request: Request) -> JSONResponse:
    await request.json()
    await _server.emit("task_update", MESSAGE)
    return JSONResponse({"status": "received"})


@_server.event
async def connect(_sid: str, _environ: dict[str, Any]) -> None:
    """Everybody may."""


stock = socketio.ASGIApp(_server, Starlette(routes=[Route("/webhook", _webhook, methods=["POST"])]))
"""python-socketio as it comes."""


async def _serve_bare(port: int) -> None:
    packet = f'42["task_update",{json.dumps(MESSAGE, separators=(",", ":"))}]'

    def tell(connection: ServerConnection, request: Upgrade) -> Response | None:
        if request.path != "/webhook":
            return None
        broadcast(server.connections, packet)
        return connection.respond(http.HTTPStatus.OK, "received")

    async def stay(connection: ServerConnection) -> None:
        await connection.wait_closed()

    async with serve(stay, "127.0.0.1", port, process_request=tell, compression=None, backlog=2048) as server:
        await asyncio.Event().wait()


if __name__ == "__main__":
    import uvloop

    uvloop.run(_serve_bare(int(sys.argv[1])))
