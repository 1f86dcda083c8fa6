"""A mock MoRAG on a socket, asked by HTTP with its key."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import httpx2

from morag_client.testing import MockMorag

KEY = {"Authorization": "Bearer test-api-key"}
TEXT = b"# Tides\n\nThe tide is the rise of the sea. NOAA measures the tide.\n\n## Moon\n\nThe Moon is far.\n"


class Asked:
    """A running mock and a client of it."""

    def __init__(self, mock: MockMorag, http: httpx2.Client) -> None:
        self.mock, self.http = mock, http

    def get(self, path: str, **options: Any) -> httpx2.Response:
        return self.http.get(path, **options)

    def post(self, path: str, **options: Any) -> httpx2.Response:
        return self.http.post(path, **options)

    def upload(self, path: str, *, name: str = "tides.md", content: bytes = TEXT, **fields: Any) -> httpx2.Response:
        """A multipart request; fields that are no text go as JSON."""
        data = {key: value if isinstance(value, str) else json.dumps(value) for key, value in fields.items()}
        return self.http.post(path, data=data, files={"file": (name, content)})

    def ingest(self, **fields: Any) -> str:
        """A file's task, waited for."""
        answer = self.upload("/api/v1/ingest/file", **fields)
        assert answer.status_code == 200, answer.text
        return self.wait(answer.json()["task_id"])

    def wait(self, task_id: str) -> str:
        assert self.mock.wait(task_id, timeout_seconds=30)
        return task_id


@contextlib.contextmanager
def asked(**options: Any) -> Iterator[Asked]:
    with MockMorag(**options) as mock, httpx2.Client(base_url=mock.url, headers=KEY, timeout=30) as http:
        yield Asked(mock, http)
