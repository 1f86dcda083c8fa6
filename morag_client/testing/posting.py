"""The driver that delivers over real HTTP, from any number of threads."""

from __future__ import annotations

import functools
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Final

import httpx2

from morag_client.api.transport import DIRECT
from morag_client.testing.delivering import Answer, Attempt, Delivering, DeliveryResult, Pause

_TEXT: Final = 500
"""Characters of an answer that are kept."""

OnRetry = Callable[[DeliveryResult, float], None]
Mounts = Mapping[str, httpx2.BaseTransport]
"""What carries requests in the place of the network, by URL: `{"all://app.test": transport}`."""


class Poster:
    """Drives deliveries. Its connections are made at the first one, and closed by `close` or when it goes."""

    def __init__(self, *, mounts: Mounts | None = None) -> None:
        self._mounts = {**DIRECT, **(mounts or {})}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._client: httpx2.Client | None = None

    def drive(self, delivering: Delivering, *, on_retry: OnRetry | None = None) -> DeliveryResult:
        """Carries a delivery through; `on_retry` hears of what failed and the seconds until the next attempt."""
        answer: Answer | None = None
        try:
            while True:
                step = delivering.send(answer)
                answer = self._post(step) if isinstance(step, Attempt) else None
                if isinstance(step, Pause) and not self._wait(step, on_retry):
                    return step.so_far
        except StopIteration as ended:
            result: DeliveryResult = ended.value
            return result

    def close(self) -> None:
        """Ends all waiting and closes the connections; what is sent later comes to nothing."""
        self._closed.set()
        with self._lock:
            if self._client is not None:
                self._client.close()

    def _wait(self, pause: Pause, on_retry: OnRetry | None) -> bool:
        if on_retry is not None:
            on_retry(pause.so_far, pause.seconds)
        return not self._closed.wait(pause.seconds)

    def _post(self, attempt: Attempt) -> Answer:
        if self._closed.is_set():
            return Answer(seconds=0.0, error="the emitter is closed")
        message = attempt.message
        client = self._connections()
        began = time.perf_counter()
        try:
            response = client.post(
                message.url, content=message.body, headers=message.headers, timeout=attempt.timeout_seconds
            )
        except httpx2.HTTPError as error:
            reason = str(error) or type(error).__name__
            return Answer(seconds=time.perf_counter() - began, error=reason)
        seconds = time.perf_counter() - began
        return Answer(seconds=seconds, status_code=response.status_code, text=response.text[:_TEXT])

    def _connections(self) -> httpx2.Client:
        with self._lock:
            if self._client is None:
                limits = httpx2.Limits(max_connections=None)
                self._client = httpx2.Client(verify=_certificates(), mounts=self._mounts, limits=limits)
                weakref.finalize(self, self._client.close)
            return self._client


@functools.cache
def _certificates() -> ssl.SSLContext:
    """Whom to trust: read once in a process, since that takes longer than a pipeline's deliveries."""
    return httpx2.create_ssl_context()
