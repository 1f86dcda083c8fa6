"""The asynchronous client of MoRAG's REST API."""

from __future__ import annotations

import ssl
from types import TracebackType
from typing import Self

from morag_client.api import endpoints, files, submitting
from morag_client.api.async_driver import AsyncDriver
from morag_client.api.calls import AsyncCall
from morag_client.api.following import TaskInbox
from morag_client.api.handles import AsyncTaskHandle, HasTask, task_id_of
from morag_client.api.namespaces import AsyncFiles, AsyncStages
from morag_client.api.releases import Release
from morag_client.api.server import server_of


class AsyncMoragClient:
    """What MoragClient is, for an event loop: the same calls, awaited. Use it in an `async with`, or `close` it."""

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
        self._driver = AsyncDriver(
            server_of(
                base_url=base_url,
                api_key=api_key,
                api_version=api_version,
                timeout_seconds=timeout_seconds,
                attempts=attempts,
                ssl_context=ssl_context,
            )
        )
        self.stages = AsyncStages(self._driver)
        self.files = AsyncFiles(self._driver)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self._driver.server.url!r})"

    ingest_file = AsyncCall(submitting.ingest_file)
    ingest_url = AsyncCall(submitting.ingest_url)
    ingest_batch = AsyncCall(submitting.ingest_batch)
    process = AsyncCall(submitting.process)
    status = AsyncCall(endpoints.status)
    history = AsyncCall(endpoints.history)
    recent_events = AsyncCall(endpoints.recent_events)
    active_tasks = AsyncCall(endpoints.active_tasks)
    queue_stats = AsyncCall(endpoints.queue_stats)
    cancel = AsyncCall(endpoints.cancel)
    list_files = AsyncCall(endpoints.list_files)
    download = AsyncCall(files.download)
    download_bytes = AsyncCall(files.download_bytes)
    delete_files = AsyncCall(endpoints.delete_files)

    def task(self, task: str | HasTask, *, inbox: TaskInbox | None = None) -> AsyncTaskHandle:
        """A handle of a task, by its id or by what MoRAG answered when the document was submitted.

        With `inbox=receiver` it goes by the webhooks that arrive there, else by asking MoRAG.
        """
        return AsyncTaskHandle(task_id_of(task), driver=self._driver, inbox=inbox)

    async def release(self) -> Release:
        """Which release of MoRAG is there; asked once, and with `api_version` never."""
        return await self._driver.release()

    async def close(self) -> None:
        """Closes the connections."""
        await self._driver.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
