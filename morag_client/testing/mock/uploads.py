"""Uploaded files: no larger than the server takes, and with a name that is a name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.types import Message, Receive

from morag_client.testing.pipeline.document import file_name

_MIB: Final = 1024 * 1024
MAX_UPLOAD_BYTES: Final = 50 * _MIB
_OTHER_FIELDS_BYTES: Final = _MIB


@asynccontextmanager
async def bounded_form(request: Request, *, max_upload_bytes: int) -> AsyncIterator[FormData]:
    """A submission's form, its files closed at the end. A body that is too large is 413, before it is all read."""
    bound = max_upload_bytes + _OTHER_FIELDS_BYTES
    counted = _Counted(request.receive, bound)
    try:
        form = await Request(request.scope, counted).form()
    except HTTPException as error:
        if not counted.exceeded:
            raise
        raise _too_large(max_upload_bytes) from error
    try:
        yield form
    finally:
        await form.close()


async def content_of(upload: UploadFile, *, max_upload_bytes: int) -> tuple[str, bytes]:
    """A file's name, without any folder, and its bytes. 413 where it is too large."""
    if upload.size is not None and upload.size > max_upload_bytes:
        raise _too_large(max_upload_bytes)
    return file_name(upload.filename or ""), await upload.read()


class _Counted:
    """Receives a body up to a bound, and then ends the parsing."""

    def __init__(self, receive: Receive, bound: int) -> None:
        self._receive = receive
        self._left = bound
        self.exceeded = False

    async def __call__(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            self.exceeded = True
            raise MultiPartException("the body is too large")  # the one exception at which the parser closes its files
        return message


def _too_large(max_upload_bytes: int) -> HTTPException:
    size = f"{max_upload_bytes / _MIB:g} MiB" if max_upload_bytes >= _MIB else f"{max_upload_bytes} bytes"
    return HTTPException(413, f"File too large: this server takes at most {size}")
