"""A webhook's receiver that keeps what arrives and answers as it is told, on a real socket."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


class Arrival:
    """One request as it came; `at` is in seconds of the monotonic clock."""

    def __init__(self, path: str, headers: dict[str, str], body: bytes) -> None:
        self.path, self.headers, self.body, self.at = path, headers, body, time.monotonic()

    @property
    def payload(self) -> dict[str, Any]:
        return json.loads(self.body)


class Recorder:
    """`with Recorder(500, 500, 200) as recorder`: the statuses in turn, the last one for ever."""

    def __init__(self, *statuses: int, answer: bytes = b'{"status":"received"}', delay: float = 0.0) -> None:
        self.arrivals: list[Arrival] = []
        self._statuses = list(statuses or (200,))
        self._lock = threading.Lock()
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                status = recorder._take(Arrival(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                time.sleep(delay)
                self.send_response(status)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST = do_DELETE = _answer  # noqa: N815

            def log_message(self, *_args: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def url(self) -> str:
        return f"{self.base_url}/webhook"

    @property
    def payloads(self) -> list[dict[str, Any]]:
        return [arrival.payload for arrival in self.arrivals]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _take(self, arrival: Arrival) -> int:
        with self._lock:
            self.arrivals.append(arrival)
            return self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128


def names(payloads: Iterable[dict[str, Any]]) -> list[str]:
    """What each body tells of, read by nobody's parser: `task_started`, `chunking started`."""
    told = []
    for payload in payloads:
        data = payload.get("data") or {}
        inner = data if "step" in data else payload
        told.append(f"{inner['step']} {inner['status']}" if "step" in inner else payload["event_type"])
    return told
