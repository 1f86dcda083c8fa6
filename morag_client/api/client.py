"""The synchronous client of MoRAG's REST API."""

from __future__ import annotations

import ssl
from types import TracebackType
from typing import Self

from morag_client.api import endpoints, files, submitting
from morag_client.api.calls import Call
from morag_client.api.driver import Driver
from morag_client.api.following import TaskInbox
from morag_client.api.handles import HasTask, TaskHandle, task_id_of
from morag_client.api.namespaces import Files, Stages
from morag_client.api.releases import Release
from morag_client.api.server import server_of


class MoragClient:
    """Submits documents to MoRAG and asks how they stand.

    `base_url` comes from `MORAG_API_URL` (else http://localhost:8000) and `api_key` from `MORAG_API_KEY` where they
    are not given; without a key none is sent. `api_version` is the release of MoRAG that is there; `auto` finds out
    with the first call. `timeout_seconds` holds for each wait on the network. What can be asked twice without another
    effect is tried `attempts` times. Use it in a `with`, or `close` it. Its calls raise ApiError, also where MoRAG
    cannot be reached, and NotSupported, before anything is sent, for what the release does not have.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        api_version: str = "auto",
        timeout_seconds: float = 30.0,
        attempts: int = 4,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._driver = Driver(
            server_of(
                base_url=base_url,
                api_key=api_key,
                api_version=api_version,
                timeout_seconds=timeout_seconds,
                attempts=attempts,
                ssl_context=ssl_context,
            )
        )
        self.stages = Stages(self._driver)
        self.files = Files(self._driver)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self._driver.server.url!r})"

    ingest_file = Call(submitting.ingest_file)
    ingest_url = Call(submitting.ingest_url)
    ingest_batch = Call(submitting.ingest_batch)
    process = Call(submitting.process)
    status = Call(endpoints.status)
    history = Call(endpoints.history)
    recent_events = Call(endpoints.recent_events)
    active_tasks = Call(endpoints.active_tasks)
    queue_stats = Call(endpoints.queue_stats)
    cancel = Call(endpoints.cancel)
    list_files = Call(endpoints.list_files)
    download = Call(files.download)
    download_bytes = Call(files.download_bytes)
    delete_files = Call(endpoints.delete_files)

    def task(self, task: str | HasTask, *, inbox: TaskInbox | None = None) -> TaskHandle:
        """A handle of a task, by its id or by what MoRAG answered when the document was submitted.

        With `inbox=receiver` it goes by the webhooks that arrive there, else by asking MoRAG.
        """
        return TaskHandle(task_id_of(task), server=self._driver.server, inbox=inbox)

    def release(self) -> Release:
        """Which release of MoRAG is there; asked once, and with `api_version` never."""
        return self._driver.release()

    def close(self) -> None:
        """Closes the connections."""
        self._driver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
