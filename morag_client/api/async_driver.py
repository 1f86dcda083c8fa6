"""Driving a call over the network on an event loop: all that is asynchronous about the asynchronous client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator
from contextlib import closing
from typing import Any, TypeVar

import anyio
import httpx2
from anyio import to_thread

from morag_client.api.addresses import address
from morag_client.api.endpoint import Course
from morag_client.api.releases import Release, find_release
from morag_client.api.requests import Exchange
from morag_client.api.retrying import retrying
from morag_client.api.sending import Body, body_of, plain_content
from morag_client.api.server import MOUNTS, Server, head_of
from morag_client.errors import ApiError

Result = TypeVar("Result")


class AsyncDriver:
    """Runs calls against one server, on one event loop; what waits for a disk waits in a thread."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._http = httpx2.AsyncClient(mounts=MOUNTS, **server.options())
        self._release: Release | None = None if server.api_version == "auto" else server.api_version
        self._finding = anyio.Lock()

    async def run(self, call: Course[Result]) -> Result:
        """Runs a call to its end."""
        return await self._follow(call.course(await self.release()))

    async def release(self) -> Release:
        """The server's release, found out once."""
        async with self._finding:
            if self._release is not None:
                return self._release
            found = await self._follow(find_release())
            self._release = found
            return found

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def _follow(self, course: Generator[Exchange[Any], Any, Result]) -> Result:
        with closing(course):
            try:
                exchange = next(course)
                while True:
                    try:
                        result = await self._perform(exchange)
                    except Exception as error:
                        exchange = course.throw(error)
                    else:
                        exchange = course.send(result)
            except StopIteration as end:
                value: Result = end.value
                return value

    async def _perform(self, exchange: Exchange[Any]) -> Any:
        async for attempt in retrying(exchange.request(), attempts=self.server.attempts):
            with attempt:
                return await self._attempt(exchange)
        raise AssertionError

    async def _attempt(self, exchange: Exchange[Any]) -> Any:
        request = exchange.request()
        patience = self.server.patience(request, is_long=exchange.blocks)
        in_turn = _in_thread if exchange.blocks else _at_once
        with body_of(request) as body:
            content, headers = (_pieces(body), body.headers) if body else plain_content(request)
            try:
                async with self._http.stream(
                    request.method,
                    address(self.server.url, request.path),
                    params=request.query or None,
                    headers={**headers, **request.headers},
                    content=content,
                    data=None if body else request.fields,
                    timeout=patience.seconds,
                ) as response:
                    intake = await in_turn(exchange.receive, head_of(response))
                    with closing(intake):
                        async for piece in response.aiter_raw():
                            await in_turn(intake.take, piece)
                            patience.check()
                            intake.tell()
                        return await in_turn(intake.end)
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                raise self.server.failure(error, request) from error
            except ApiError as error:
                raise self.server.concealing(error, request) from None


async def _in_thread(work: Callable[..., Any], *given: Any) -> Any:
    return await to_thread.run_sync(work, *given)


async def _at_once(work: Callable[..., Any], *given: Any) -> Any:
    return work(*given)


async def _pieces(body: Body) -> AsyncIterator[bytes]:
    while piece := await to_thread.run_sync(body.next):
        yield piece
        body.sent()
