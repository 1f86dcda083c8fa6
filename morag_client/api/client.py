"""The synchronous client of MoRAG's REST API."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx2

from morag_client.api import endpoints
from morag_client.api.answers import read_answer
from morag_client.api.endpoints import Answer, Endpoint
from morag_client.api.models import Submission, TaskHistory, TaskStatus
from morag_client.api.transport import DIRECT, require_token, require_url, without_credentials
from morag_client.errors import ApiError

DEFAULT_URL: Final = "http://localhost:8000"


class MoragClient:
    """Submits documents to MoRAG and asks how they stand.

    `base_url` comes from `MORAG_API_URL` (else http://localhost:8000) and `api_key` from `MORAG_API_KEY` where they
    are not given; without a key none is sent. `timeout_seconds` holds for each wait on the network. Use it in a
    `with`, or `close` it. Its calls raise ApiError, also where MoRAG cannot be reached.
    """

    def __init__(
        self, *, base_url: str | None = None, api_key: str | None = None, timeout_seconds: float = 30.0
    ) -> None:
        url = require_url(
            base_url or os.environ.get("MORAG_API_URL") or DEFAULT_URL,
            advice="set base_url= or MORAG_API_URL to http://host:port",
        )
        key = api_key or os.environ.get("MORAG_API_KEY")
        self._shown_url = without_credentials(url)
        headers = {} if not key else {"Authorization": f"Bearer {require_token(key, name='API key')}"}
        self._http = httpx2.Client(base_url=url, headers=headers, timeout=timeout_seconds, mounts=DIRECT)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self._shown_url!r})"

    def ingest_file(
        self,
        path: str | os.PathLike[str],
        *,
        webhook_url: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        source_type: str | None = None,
    ) -> Submission:
        """Submits a file, streamed from disk; MoRAG then reports to `webhook_url`.

        `metadata` comes back in the events of the task. `source_type` is `document`, `audio`, `video` or `image`, by
        default as the file's name says. Raises OSError for a file that cannot be read, and ApiError.
        """
        return self._call(
            endpoints.ingest_file(Path(path), webhook_url=webhook_url, metadata=metadata, source_type=source_type)
        )

    def status(self, task_id: str) -> TaskStatus:
        """How a task stands."""
        return self._call(endpoints.status(task_id))

    def history(self, task_id: str) -> TaskHistory:
        """What happened to a task so far, newest first."""
        return self._call(endpoints.history(task_id))

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, endpoint: Endpoint[Answer]) -> Answer:
        with ExitStack() as opened:
            files = None
            if endpoint.upload is not None:
                files = {"file": (endpoint.upload.name, opened.enter_context(endpoint.upload.open("rb")))}
            try:
                response = self._http.request(endpoint.method, endpoint.path, data=endpoint.fields, files=files)
            except httpx2.TimeoutException as error:
                raise ApiError(
                    f"MoRAG at {self._shown_url} did not answer in time: try again, or raise timeout_seconds="
                ) from error
            except httpx2.HTTPError as error:
                raise ApiError(
                    f"MoRAG at {self._shown_url} could not be reached ({str(error) or type(error).__name__}): "
                    "is it running? Set base_url= or MORAG_API_URL to where it is"
                ) from error
        return read_answer(endpoint, status_code=response.status_code, body=response.content)
