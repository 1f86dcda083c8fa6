"""Driving a call over the network, waiting for it: all that is synchronous about the synchronous client."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any, TypeVar

import httpx2

from morag_client.api.addresses import address
from morag_client.api.endpoint import Course
from morag_client.api.releases import Release, find_release
from morag_client.api.requests import Exchange
from morag_client.api.retrying import retrying
from morag_client.api.sending import Body, body_of, plain_content
from morag_client.api.server import MOUNTS, Server, head_of
from morag_client.errors import ApiError

Result = TypeVar("Result")


class Driver:
    """Runs calls against one server; safe for threads."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._http = httpx2.Client(mounts=MOUNTS, **server.options())
        self._release: Release | None = None if server.api_version == "auto" else server.api_version
        self._finding = threading.Lock()

    def run(self, call: Course[Result]) -> Result:
        """Runs a call to its end."""
        return self._follow(call.course(self.release()))

    def release(self) -> Release:
        """The server's release, found out once."""
        with self._finding:
            if self._release is not None:
                return self._release
            found = self._follow(find_release())
            self._release = found
            return found

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _follow(self, course: Generator[Exchange[Any], Any, Result]) -> Result:
        with closing(course):
            try:
                exchange = next(course)
                while True:
                    try:
                        result = self._perform(exchange)
                    except Exception as error:
                        exchange = course.throw(error)
                    else:
                        exchange = course.send(result)
            except StopIteration as end:
                value: Result = end.value
                return value

    def _perform(self, exchange: Exchange[Any]) -> Any:
        for attempt in retrying(exchange.request(), attempts=self.server.attempts):
            with attempt:
                return self._attempt(exchange)
        raise AssertionError

    def _attempt(self, exchange: Exchange[Any]) -> Any:
        request = exchange.request()
        patience = self.server.patience(request, is_long=exchange.blocks)
        with body_of(request) as body:
            content, headers = (_pieces(body), body.headers) if body else plain_content(request)
            try:
                with self._http.stream(
                    request.method,
                    address(self.server.url, request.path),
                    params=request.query or None,
                    headers={**headers, **request.headers},
                    content=content,
                    data=None if body else request.fields,
                    timeout=patience.seconds,
                ) as response, closing(exchange.receive(head_of(response))) as intake:  # fmt: skip
                    for piece in response.iter_raw():
                        intake.take(piece)
                        patience.check()
                        intake.tell()
                    return intake.end()
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                raise self.server.failure(error, request) from error
            except ApiError as error:
                raise self.server.concealing(error, request) from None


def _pieces(body: Body) -> Iterator[bytes]:
    while piece := body.next():
        yield piece
        body.sent()
