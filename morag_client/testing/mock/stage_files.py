"""`/api/v1/files` of r3: the files that stages left."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from morag_client.events.names import STAGES
from morag_client.testing.mock.artefacts import media_type_of, served
from morag_client.testing.mock.asking import Invalid
from morag_client.testing.mock.stage_jobs import Jobs, StageFile, normal

_TRUE: Final = {"true", "1", "yes", "on", "t", "y"}


class StageFiles:
    """The calls that list, describe and serve stages' files, by the paths that webhooks name."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            Route("/api/v1/files/list", self.listing),
            Route("/api/v1/files/info/{path:path}", self.info),
            Route("/api/v1/files/download/{path:path}", self.download),
        ]

    async def listing(self, request: Request) -> Response:
        """All files, the newest first: in a folder, of a stage, with an extension."""
        asked = request.query_params
        stage, extension = asked.get("stage_type"), asked.get("file_extension", "").lstrip(".").lower()
        if stage is not None and stage not in STAGES:
            message = f"Input should be one of {', '.join(STAGES)}"
            raise Invalid([{"type": "enum", "loc": ["query", "stage_type"], "msg": message}])
        folder = PurePosixPath(normal(asked.get("output_dir", "./output")))
        files = [
            file
            for file in self._jobs.files()
            if folder in PurePosixPath(file.path).parents
            and stage in {None, file.stage}
            and file.path.endswith(f".{extension}" if extension else "")
        ]
        total = sum(len(file.content) for file in files)
        return JSONResponse(
            {"files": [file.as_json() for file in files], "total_count": len(files), "total_size": total}
        )

    async def info(self, request: Request) -> Response:
        """What is known of a file."""
        return JSONResponse(self._found(request).as_json())

    async def download(self, request: Request) -> Response:
        """A file, or the one range of it that is asked for."""
        file = self._found(request)
        name = PurePosixPath(file.path).name
        shown = request.query_params.get("inline", "").lower() in _TRUE
        disposition = "inline" if shown else f"attachment; filename*=utf-8''{quote(name, safe='')}"
        return served(
            file.content,
            media_type=media_type_of(name),
            wanted=request.headers.get("range"),
            disposition=disposition,
        )

    def _found(self, request: Request) -> StageFile:
        file = self._jobs.file(request.path_params["path"])
        if file is None:
            raise HTTPException(404, "File not found")
        return file
