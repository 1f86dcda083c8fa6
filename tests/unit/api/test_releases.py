"""Which release is there: found out once, and not decided by a server that does not answer."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest
from both_clients import KINDS, Kind, calling
from scripted import Asked, says, scripted

from morag_client import (
    AsyncMoragClient,
    ConfigurationError,
    MoragClient,
    NotFound,
    NotSupported,
    NotUnderstood,
    ServerFailed,
    Unauthorized,
    Unreachable,
)
from morag_client.testing import MockMorag
from morag_client.testing.mock.server import DEFAULT_API_KEY as API_KEY

ACTIVE = {"r1": {"active_tasks": [], "count": 0}, "r2": {"active_tasks": [], "total_count": 0}}
MISSING = says({"detail": "Not Found"}, 404)

both = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MORAG_API_URL", "MORAG_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@both
@pytest.mark.parametrize("profile", ["guide", "r1", "r2", "r3"])
def test_every_release_is_known(kind: Kind, profile: Any) -> None:
    with MockMorag(profile=profile) as mock:
        assert calling(kind, mock.url, lambda client: client.release(), api_key=API_KEY) == profile


@both
def test_it_is_said_and_not_asked(kind: Kind) -> None:
    assert calling(kind, "http://127.0.0.1:9", lambda client: client.release(), api_version="r2") == "r2"


def test_it_is_asked_once_by_many_threads() -> None:
    answers: list[str] = []
    with scripted(says(ACTIVE["r2"])) as server, MoragClient(base_url=server.url) as client:
        threads = [threading.Thread(target=lambda: answers.append(client.release())) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert answers == ["r2"] * 8
    assert server.targets == ["/api/v1/status/"]


async def test_it_is_asked_once_by_many_coroutines() -> None:
    with scripted(says(ACTIVE["r2"])) as server:
        async with AsyncMoragClient(base_url=server.url) as client:
            assert await asyncio.gather(*(client.release() for _ in range(8))) == ["r2"] * 8

    assert server.targets == ["/api/v1/status/"]


async def test_whoever_gives_up_asking_leaves_it_to_the_next() -> None:
    waits = threading.Event()

    def later(connection: socket.socket, asked: Asked) -> None:
        waits.wait(5)
        says(ACTIVE["r2"])(connection, asked)

    with scripted(later, says(ACTIVE["r2"])) as server:
        async with AsyncMoragClient(base_url=server.url) as client:
            first = asyncio.create_task(client.release())
            await asyncio.sleep(0.1)
            second = asyncio.create_task(client.release())
            first.cancel()
            assert await second == "r2"
        waits.set()

    assert len(server.asked) == 2


@both
def test_a_server_that_is_not_there_leaves_it_open(kind: Kind) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(Unreachable):
        calling(kind, url, lambda client: client.release(), attempts=1)


def test_after_a_failure_it_is_asked_again() -> None:
    with (
        scripted(says({"detail": "down"}, 503), says(ACTIVE["r2"])) as server,
        MoragClient(base_url=server.url, attempts=1) as client,
    ):
        with pytest.raises(ServerFailed):
            client.release()
        assert client.release() == "r2"


@both
def test_what_is_no_morag(kind: Kind) -> None:
    for scenes, error in (
        ([MISSING], NotFound),
        ([says({"status": "ok"})], NotUnderstood),
        ([says({"active_tasks": []})], NotUnderstood),
        ([says(b"<html>")], NotUnderstood),
        ([says({"detail": "who?"}, 401)], Unauthorized),
    ):
        with scripted(*scenes) as server, pytest.raises(error):
            calling(kind, server.url, lambda client: client.status("t"), attempts=1)
        assert len(server.asked) <= 2


@both
@pytest.mark.parametrize(
    ("release", "call"), [("r3", "status"), ("r3", "history"), ("r1", "cancel"), ("r1", "process")]
)
def test_what_a_release_does_not_have_is_not_sent(kind: Kind, release: str, call: str) -> None:
    def do(client: Any) -> Any:
        return client.process(url="http://x", mode="process") if call == "process" else getattr(client, call)("t")

    with scripted(MISSING) as server, pytest.raises(NotSupported, match=call):
        calling(kind, server.url, do, api_version=release)

    assert server.asked == []


def test_stages_are_r3s() -> None:
    with scripted(MISSING) as server, MoragClient(base_url=server.url, api_version="r2") as client:
        with pytest.raises(NotSupported, match=r"stages\.list is not in MoRAG's release r2, it is in r3"):
            client.stages.list()
        with pytest.raises(ConfigurationError):
            client.files.info("../../etc/passwd")

    assert server.asked == []
