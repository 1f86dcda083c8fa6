"""Documents that are submitted by URL: fetched from allowed hosts only, bounded in size and time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import unquote

import httpx2

from morag_client.api.transport import DIRECT
from morag_client.testing.mock.hosts import AllowedHosts
from morag_client.testing.pipeline.document import Document, StepFailure, file_name

_TIMEOUT_SECONDS: Final = 10.0
_IN_ALL_SECONDS: Final = 60.0
_LIMIT: Final = 50 * 1024 * 1024
_EXTENSIONS: Final = {
    "text/html": ".html",
    "application/xhtml+xml": ".html",
    "text/markdown": ".md",
    "text/plain": ".txt",
    "text/csv": ".csv",
    "application/json": ".json",
    "application/pdf": ".pdf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
}


def fetch(url: str, *, allowed: AllowedHosts) -> tuple[str, bytes]:
    """The name and the bytes of what is there. Redirects are not followed. Raises StepFailure."""
    refusal = allowed.refusal(url, what="url")
    if refusal is not None:
        raise StepFailure(f"{refusal}; the mock server fetches from allowed hosts only", error_code="FETCH_FAILED")
    try:
        with (
            httpx2.Client(mounts=DIRECT, timeout=_TIMEOUT_SECONDS) as client,
            client.stream("GET", url) as response,
        ):
            if response.status_code != httpx2.codes.OK:
                raise StepFailure(f"{url} answered {response.status_code}", error_code="FETCH_FAILED")
            return _filename(response), _bounded(response)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        reason = str(error) or type(error).__name__
        raise StepFailure(f"{url} could not be fetched: {reason}", error_code="FETCH_FAILED") from error


def fetch_all(urls: Sequence[str], *, allowed: AllowedHosts) -> bytes:
    """The texts of several documents as one of markdown. Raises StepFailure for the first that cannot be had."""
    from morag_client.testing.pipeline.formats import convert  # noqa: PLC0415  # formats need what `mock` brings

    text = bytearray()
    for url in urls:
        name, content = fetch(url, allowed=allowed)
        text += convert(Document(name, content)).markdown.encode() + b"\n"
        if len(text) > _LIMIT:
            raise StepFailure(f"the batch is larger than {_LIMIT} bytes", error_code="FETCH_FAILED")
    return bytes(text)


def filename_of(url: str) -> str:
    """The last part of the URL's path, `page` where there is none."""
    last = PurePosixPath(unquote(httpx2.URL(url).path)).name
    return file_name(last) if last else "page"


def _bounded(response: httpx2.Response) -> bytes:
    content, ends_at = bytearray(), time.monotonic() + _IN_ALL_SECONDS
    for part in response.iter_bytes():
        content += part
        if len(content) > _LIMIT:
            raise StepFailure(f"{response.url} is larger than {_LIMIT} bytes", error_code="FETCH_FAILED")
        if time.monotonic() > ends_at:
            raise StepFailure(f"{response.url} takes longer than {_IN_ALL_SECONDS:g} s", error_code="FETCH_FAILED")
    return bytes(content)


def _filename(response: httpx2.Response) -> str:
    name = filename_of(str(response.url))
    if PurePosixPath(name).suffix:
        return name
    media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return f"{name}{_EXTENSIONS.get(media_type, '.html')}"
