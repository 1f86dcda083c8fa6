"""A request's body on its way: built, counted, and its file read piece by piece."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from typing import Final

from morag_client.api.multipart import Form, form_around
from morag_client.api.requests import Request, Upload

PIECE: Final = 256 * 1024
"""Bytes that are read from a file at once."""


class Body:
    """The pieces of a request's body; `next` may wait for a disk, `sent` tells that the last piece went out."""

    def __init__(self, form: Form, file: BufferedReader, upload: Upload) -> None:
        self.headers = {"Content-Type": form.content_type, "Content-Length": str(form.size)}
        self._form = form
        self._file = file
        self._upload = upload
        self._read = self._told = 0
        self._step = 0

    def next(self) -> bytes:
        """The next piece, empty at the end. Raises OSError where the file became shorter meanwhile."""
        if self._step == 0:
            self._step = 1
            return self._form.before
        left = self._form.file_size - self._read
        if left:
            piece = self._file.read(min(PIECE, left))
            if not piece:
                raise OSError(f"{self._upload.path} became shorter while it was sent")
            self._read += len(piece)
            return piece
        self._step += 1
        return self._form.after if self._step == 2 else b""  # noqa: PLR2004

    def sent(self) -> None:
        """The last piece is out."""
        if self._upload.on_progress is not None and self._read > self._told:
            self._told = self._read
            self._upload.on_progress(self._read, self._form.file_size)


@contextmanager
def body_of(request: Request) -> Iterator[Body | None]:
    """The body of a request with a file, which stays open meanwhile; None without. Raises OSError."""
    if request.upload is None:
        yield None
        return
    with request.upload.path.open("rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(f"{request.upload.path} is no regular file")
        yield Body(form_around(request.upload.path.name, found.st_size, request.fields or {}), file, request.upload)


def plain_content(request: Request) -> tuple[bytes | None, dict[str, str]]:
    """The body of a request without a file, and its headers."""
    if request.json is None:
        return None, {}
    content = json.dumps(request.json, ensure_ascii=False, allow_nan=False).encode()
    return content, {"Content-Type": "application/json"}
