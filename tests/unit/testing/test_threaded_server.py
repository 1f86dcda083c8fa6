"""An app on a real socket, in a thread."""

from __future__ import annotations

import socket
import threading
from contextlib import asynccontextmanager

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from morag_client.errors import ConfigurationError
from morag_client.testing.serving import ThreadedServer


async def hello(_request: object) -> PlainTextResponse:
    return PlainTextResponse("hello")


def test_serves_with_the_apps_lifespan_and_leaves_nothing() -> None:
    told = []

    @asynccontextmanager
    async def lifespan(_app: object):
        told.append("started")
        yield
        told.append("stopped")

    before = set(threading.enumerate())
    with ThreadedServer(Starlette(routes=[Route("/", hello)], lifespan=lifespan)) as server:
        assert told == ["started"]
        assert httpx2.get(server.url).text == "hello"
        url = server.url

    assert told == ["started", "stopped"]
    assert not set(threading.enumerate()) - before
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(url)


def test_a_port_in_use_is_named_with_the_way_out() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = ThreadedServer(Starlette(), port=port, port_option="--port")

        with pytest.raises(ConfigurationError, match=rf"port {port} of 127\.0\.0\.1 is in use.*--port"):
            server.start()


@pytest.mark.parametrize("port", [-1, 65536])
def test_what_is_no_port(port: int) -> None:
    with pytest.raises(ConfigurationError, match="no port"):
        ThreadedServer(Starlette(), port=port).start()


def test_an_app_that_does_not_start_is_an_error() -> None:
    @asynccontextmanager
    async def lifespan(_app: object):
        raise RuntimeError("no database")
        yield

    server = ThreadedServer(Starlette(lifespan=lifespan))

    with pytest.raises(ConfigurationError, match="did not start: RuntimeError: no database"):
        server.start()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("serve ")]


def test_without_being_started_there_is_no_url() -> None:
    with pytest.raises(RuntimeError, match="not serving"):
        _ = ThreadedServer(Starlette()).url


def test_stopping_twice_is_no_error() -> None:
    server = ThreadedServer(Starlette()).start()
    url = server.url
    server.stop()
    server.stop()
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(url)
