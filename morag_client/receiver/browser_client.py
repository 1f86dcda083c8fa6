"""Where Socket.IO is: its own path, and the browser's half of it, as Node's server has it."""

from __future__ import annotations

from importlib.resources import files
from typing import Any, Final

from starlette.responses import FileResponse, Response

_PATH: Final = "/socket.io"
BROWSER_CLIENT: Final = ("/socket.io/socket.io.js", "/socket.io/socket.io.min.js")
_FILE: Final = "static/socket.io.min.js"


def is_socket_io(path: str) -> bool:
    """Whether a path below our mount belongs to Socket.IO."""
    return path.startswith(_PATH) and (path == _PATH or path[len(_PATH)] == "/")


async def send_browser_client(scope: Any, receive: Any, send: Any) -> None:
    """Answers with socket.io-client, as it was published."""
    if scope["method"] not in {"GET", "HEAD"}:
        await Response(status_code=405, headers={"allow": "GET"})(scope, receive, send)
        return
    path = str(files("morag_client.progress") / _FILE)
    headers = {"cache-control": "public, max-age=3600", "x-content-type-options": "nosniff"}
    await FileResponse(path, media_type="text/javascript", headers=headers)(scope, receive, send)
