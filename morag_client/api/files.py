"""Fetching files from MoRAG: those that tasks left, by the URLs that webhooks name, and those of r3's stages."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from morag_client.api.downloads import Download
from morag_client.api.endpoint import Endpoint
from morag_client.api.keeping import ToFile, ToMemory
from morag_client.api.models import StageFile, StageFiles
from morag_client.api.places import segment, segments
from morag_client.api.releases import EVERY_RELEASE, STAGES_INSTEAD, WITH_TASKS, Release
from morag_client.api.requests import OnProgress, Request
from morag_client.errors import ConfigurationError

MAX_BYTES: Final = 64 * 1024 * 1024
"""How much is read into memory, unless it is said otherwise."""

_TASKS_INSTEAD: Final = "use download and list_files there"


def download(
    source: str, filename: str | None = None, *, to: str | os.PathLike[str], on_progress: OnProgress | None = None
) -> Download[Path]:
    """Fetches a file into the file or the folder `to`, and returns where it is.

    `source` is a URL as webhooks name it (`/api/files/temp/{task_id}/markdown.md`), relative or of MoRAG's own origin,
    or a task's id with a `filename` (not in r3). The file is streamed, taken up where it broke off, checked against its
    size, and in its place only when it is whole; in a folder it has its own name, which cannot lead elsewhere;
    with a slash at the end, `to` is a folder and is made.
    `on_progress(received_bytes, total_bytes)` has a total of 0 while it is not known. Raises OSError,
    ConfigurationError for a URL of another origin, and ApiError.
    """
    place, releases = _place(source, filename)
    return Download(
        name="download",
        path=place,
        releases=releases,
        instead=STAGES_INSTEAD,
        keeping=lambda: ToFile(to, name=filename or source),
        on_progress=on_progress,
    )


def download_bytes(
    source: str, filename: str | None = None, *, max_bytes: int = MAX_BYTES, on_progress: OnProgress | None = None
) -> Download[bytes]:
    """Fetches a file into memory, as `download` does into a folder; NotUnderstood beyond `max_bytes`."""
    place, releases = _place(source, filename)
    return Download(
        name="download_bytes",
        path=place,
        releases=releases,
        instead=STAGES_INSTEAD,
        keeping=ToMemory,
        on_progress=on_progress,
        max_bytes=max_bytes,
    )


def download_stage_file(
    path: str, *, to: str | os.PathLike[str], on_progress: OnProgress | None = None
) -> Download[Path]:
    """Fetches a file that a stage left, by its `file_path`, as the client's `download` does. In r3 only."""
    return Download(
        name="files.download",
        path=f"/api/v1/files/download/{segments(path)}",
        releases=("r3",),
        instead=_TASKS_INSTEAD,
        keeping=lambda: ToFile(to, name=path),
        on_progress=on_progress,
    )


def info(path: str) -> Endpoint[StageFile]:
    """What is known of a file that a stage left. In r3 only."""
    request = Request(method="GET", path=f"/api/v1/files/info/{segments(path)}")
    return Endpoint(name="files.info", answer=StageFile, requests={"r3": request}, instead=_TASKS_INSTEAD)


def list_stage_files(
    *, output_dir: str | None = None, stage_type: str | None = None, file_extension: str | None = None
) -> Endpoint[StageFiles]:
    """The files that stages left, newest first: in a folder, of a stage, with an extension. In r3 only."""
    asked = {"output_dir": output_dir, "stage_type": stage_type, "file_extension": file_extension}
    query = {name: value for name, value in asked.items() if value is not None}
    request = Request(method="GET", path="/api/v1/files/list", query=query)
    return Endpoint(name="files.list", answer=StageFiles, requests={"r3": request}, instead=_TASKS_INSTEAD)


def _place(source: str, filename: str | None) -> tuple[str, tuple[Release, ...]]:
    if filename is not None:
        return f"/api/files/temp/{segment(source)}/{segment(filename, what='file name')}", WITH_TASKS
    if "/" not in source:
        raise ConfigurationError(f"{source!r} is no URL of a file; with a task's id, give the name of a file, too")
    return source, EVERY_RELEASE
