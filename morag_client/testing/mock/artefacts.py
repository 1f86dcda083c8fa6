"""`/api/files/temp`: the files that tasks left."""

from __future__ import annotations

import mimetypes
import re
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from morag_client.testing.mock.tasks import Tasks

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
_TYPES: Final = {".md": "text/markdown", ".json": "application/json"}


class Artefacts:
    """The calls that list, serve and delete a task's files."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            Route("/api/files/temp/{task_id}", self.listing, methods=["GET"]),
            Route("/api/files/temp/{task_id}", self.delete, methods=["DELETE"]),
            Route("/api/files/temp/{task_id}/{filename}", self.download),
        ]

    async def listing(self, request: Request) -> Response:
        """The files of a task; of one that nobody knows there are none."""
        task_id = request.path_params["task_id"]
        found = self._tasks.artefacts(task_id) or {}
        files = [
            {
                "filename": name,
                "size_bytes": len(content),
                "content_type": media_type_of(name),
                "url": f"/api/files/temp/{task_id}/{name}",
            }
            for name, content in found.items()
        ]
        total = sum(map(len, found.values()))
        return JSONResponse({"session_id": task_id, "files": files, "total_size_bytes": total})

    async def download(self, request: Request) -> Response:
        """A file, or the one range of it that is asked for."""
        filename = request.path_params["filename"]
        content = (self._tasks.artefacts(request.path_params["task_id"]) or {}).get(filename)
        if content is None:
            raise HTTPException(404, f"File not found: {filename}")
        return served(content, media_type=media_type_of(filename), wanted=request.headers.get("range"))

    async def delete(self, request: Request) -> Response:
        """Lets go of a task's files."""
        task_id = request.path_params["task_id"]
        if not self._tasks.delete_artefacts(task_id):
            raise HTTPException(404, f"Session not found: {task_id}")
        return JSONResponse({"success": True, "message": f"Session {task_id} deleted successfully"})


def media_type_of(filename: str) -> str:
    """The media type by the file name's extension, the same on every machine."""
    for ending, media_type in _TYPES.items():
        if filename.endswith(ending):
            return media_type
    return mimetypes.guess_type(filename)[0] or "application/octet-stream"


def served(content: bytes, *, media_type: str, wanted: str | None, disposition: str | None = None) -> Response:
    """The bytes, or the one range of them that a Range header wants; several ranges are the whole, as nonsense is.

    Raises HTTPException 416 where the range begins behind the end.
    """
    headers = {"Accept-Ranges": "bytes"}
    if disposition is not None:
        headers["Content-Disposition"] = disposition
    size = len(content)
    found = _RANGE.fullmatch((wanted or "").strip())
    if found is None or (not found[1] and not found[2]):
        return Response(content, media_type=media_type, headers=headers)
    if found[1]:
        first, last = int(found[1]), min(int(found[2] or size - 1), size - 1)
    else:
        first, last = max(0, size - int(found[2])), size - 1
    if first >= size or first > last:
        raise HTTPException(416, "Requested range not satisfiable", headers={"Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    return Response(content[first : last + 1], status_code=206, media_type=media_type, headers=headers)
