"""The mock server: tasks that run in threads, and a socket that answers for them."""

from __future__ import annotations

import functools
import importlib.util
import threading
import time
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final, Self
from uuid import uuid4

from morag_client.errors import ConfigurationError
from morag_client.events.types import Dialect
from morag_client.testing.delivering import DeliveryResult
from morag_client.testing.emitter import Emitter, as_submitted
from morag_client.testing.faults.plan import FaultPlan
from morag_client.testing.mock.routes import mock_app
from morag_client.testing.mock.tasks import Tasks
from morag_client.testing.moments import Moment
from morag_client.testing.pipeline.document import Document
from morag_client.testing.pipeline.durations import realistic_seconds, realistic_total
from morag_client.testing.pipeline.running import run
from morag_client.testing.pipeline.steps import Work
from morag_client.testing.serving import ThreadedServer
from morag_client.wire.signature import Secret

DEFAULT_API_KEY: Final = "test-api-key"
_DELIVERIES_KEPT: Final = 10_000
_STOP_SECONDS: Final = 10.0


class MockMorag:
    """A MoRAG server for tests: `with MockMorag(webhook_secret=…) as mock:` serves it at `mock.url`.

    It really processes text documents; other formats fail as MoRAG's do. `speed` 0 is at once, 1 takes as long as a
    real server would, 0.5 half of that. Webhooks go out as an `Emitter` with the same arguments sends them, signed
    with `webhook_secret`; these `faults` happen to them. `app` is the ASGI app, `deliveries` what became of the latest
    webhooks. Raises ConfigurationError for what cannot work, such as a port in use.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        port_option: str = "port=",
        api_key: str = DEFAULT_API_KEY,
        webhook_secret: Secret | None = None,
        bearer_token: str | None = None,
        dialect: Dialect | None = None,
        speed: float = 0.0,
        timeout_seconds: float | None = None,
        max_retries: int | None = None,
        retry_delay: float | None = None,
        faults: FaultPlan | None = None,
    ) -> None:
        if importlib.util.find_spec("python_multipart") is None:
            raise ConfigurationError("the mock server needs python-multipart: pip install 'morag-client[mock]'")
        self.deliveries: deque[DeliveryResult] = deque(maxlen=_DELIVERIES_KEPT)
        if speed < 0:
            raise ConfigurationError(f"a speed of {speed} cannot be; 0 is at once, 1 as a real server")
        self._speed = speed
        self._emitter = Emitter(
            secret=webhook_secret,
            bearer_token=bearer_token,
            dialect=dialect,
            timeout_seconds=timeout_seconds,
            max_retries=max_retries,
            retry_delay=retry_delay,
            on_delivery=self.deliveries.append,
        )
        if faults is not None:
            self._emitter.check_faults(faults)
        self._faults = faults
        self._tasks = Tasks()
        self._threads: dict[str, threading.Thread] = {}
        self._stopping = threading.Event()
        self.app = mock_app(tasks=self._tasks, submit=self._submit, api_key=api_key)
        self._server = ThreadedServer(self.app, host=host, port=port, port_option=port_option)

    @property
    def url(self) -> str:
        """Where it is served: the base URL for a `MoragClient`."""
        return self._server.url

    def start(self) -> Self:
        """Returns when it serves."""
        self._server.start()
        return self

    def stop(self) -> None:
        """Takes no more submissions, gives up the tasks that still run, and frees the port."""
        self._server.stop()
        self._stopping.set()
        self._emitter.close()
        for thread in tuple(self._threads.values()):
            thread.join(_STOP_SECONDS)

    def wait(self, task_id: str, *, timeout_seconds: float | None = None) -> bool:
        """Waits until a task has ended and all its webhooks are through. False where that took too long."""
        thread = self._threads[task_id]
        thread.join(timeout_seconds)
        return not thread.is_alive()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _submit(self, document: Document, webhook_url: str | None) -> dict[str, Any]:
        work = Work(as_submitted(document, webhook_url=webhook_url, metadata={}), str(uuid4()))
        expected = self._add(work)
        thread = threading.Thread(
            target=self._run,
            args=(work, webhook_url, len(self._threads)),
            name=f"mock task {work.task_id}",
            daemon=True,
        )
        self._threads[work.task_id] = thread
        thread.start()
        return {
            "task_id": work.task_id,
            "status": "pending",
            "message": f"File ingestion started for {document.filename}",
            "estimated_time": round(expected),
        }

    def _add(self, work: Work) -> float:
        """Makes the task known; how many seconds it will take."""
        expected = self._speed * realistic_total(size_bytes=len(work.document.content))
        self._tasks.add(work.task_id, expected_seconds=expected, artefacts=work.artefacts)
        return expected

    def _run(self, work: Work, webhook_url: str | None, number: int) -> None:
        if webhook_url is None:
            deque(self._moments(work, work.task_id), maxlen=0)
            return
        moments = functools.partial(self._moments, work)
        self._emitter.tell_all(moments, work.task_id, webhook_url=webhook_url, faults=self._faults, number=number)

    def _moments(self, work: Work, task_id: str) -> Iterator[Moment]:
        """What happens to the work, or to a twin of it, in the time that it takes."""
        if task_id != work.task_id:
            work = Work(work.document, task_id)
            self._add(work)
        size = len(work.document.content)
        for moment in run(work, clock=time.perf_counter):
            if self._stopping.is_set():
                return
            self._tasks.take(moment)
            yield moment
            if moment.step is not None and moment.status == "started":
                self._stopping.wait(self._speed * realistic_seconds(moment.step, size_bytes=size))
