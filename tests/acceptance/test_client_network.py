"""One client through a network that fails and comes back."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from both_clients import KINDS, Kind, calling
from proxies import Proxy, before
from scripted import head, scripted, sends

from morag_client import AsyncMoragClient, MoragClient, TimedOut, Unreachable
from morag_client.api.sending import Body
from morag_client.testing import MockMorag
from morag_client.testing.mock.server import DEFAULT_API_KEY as API_KEY


@pytest.fixture
def mock() -> Iterator[MockMorag]:
    with MockMorag(profile="r2") as served:
        yield served


@pytest.fixture
def proxy(mock: MockMorag) -> Iterator[Proxy]:
    with before(mock.url) as made:
        yield made


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "tides.md"
    path.write_text("# Tides\n")
    return path


def test_the_same_client_goes_on_when_the_network_is_back(mock: MockMorag, proxy: Proxy, document: Path) -> None:
    with MoragClient(base_url=proxy.through(mock.url), api_key=API_KEY, attempts=1, timeout_seconds=1) as client:
        task_id = client.ingest_file(document).task_id
        proxy.set("refuse")
        with pytest.raises(Unreachable):
            client.status(task_id)
        with pytest.raises(Unreachable) as caught:
            client.ingest_file(document)
        assert caught.value.is_unsent
        proxy.set("pass")
        assert client.status(task_id).task_id == task_id
        proxy.set("hang")
        with pytest.raises(TimedOut):
            client.status(task_id)
        proxy.set("pass")
        assert client.ingest_file(document).task_id


async def test_on_a_loop_as_well(mock: MockMorag, proxy: Proxy, document: Path) -> None:
    options: dict[str, Any] = {"api_key": API_KEY, "attempts": 1, "timeout_seconds": 1}
    async with AsyncMoragClient(base_url=proxy.through(mock.url), **options) as client:
        task_id = (await client.ingest_file(document)).task_id
        await asyncio.to_thread(proxy.set, "refuse")
        with pytest.raises(Unreachable):
            await client.status(task_id)
        await asyncio.to_thread(proxy.set, "pass")
        assert (await client.status(task_id)).task_id == task_id
        await asyncio.to_thread(proxy.set, "hang")
        with pytest.raises(TimedOut):
            await client.status(task_id)
        await asyncio.to_thread(proxy.set, "pass")
        assert (await client.ingest_file(document)).task_id


@pytest.mark.parametrize("kind", KINDS)
def test_a_question_outlives_a_short_outage(kind: Kind, mock: MockMorag, proxy: Proxy) -> None:
    proxy.set("refuse")
    timer = threading.Timer(0.3, proxy.set, ["pass"])
    timer.start()
    try:
        found = calling(kind, proxy.through(mock.url), lambda client: client.active_tasks(), api_key=API_KEY)
    finally:
        timer.join()

    assert found.number == 0


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_that_is_lost_is_no_second_task(kind: Kind, mock: MockMorag, proxy: Proxy, document: Path) -> None:
    url = proxy.through(mock.url)
    proxy.set("deaf")
    with pytest.raises(TimedOut):
        calling(
            kind,
            url,
            lambda client: client.ingest_file(document),
            api_key=API_KEY,
            api_version="r2",
            timeout_seconds=0.5,
        )
    proxy.set("pass")
    recent = calling(kind, url, lambda client: client.recent_events(), api_key=API_KEY)

    assert len({event.task_id for event in recent.events}) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_reset_in_mid_upload(kind: Kind, mock: MockMorag, proxy: Proxy, tmp_path: Path) -> None:
    large = tmp_path / "large.md"
    large.write_bytes(b"tide " * 8_000_000)

    def cut(sent: int, _total: int) -> None:
        if sent > 5_000_000:
            proxy.set("reset")

    with pytest.raises(Unreachable) as caught:
        calling(
            kind,
            proxy.through(mock.url),
            lambda client: client.ingest_file(large, on_progress=cut),
            api_key=API_KEY,
            api_version="r2",
        )

    assert not caught.value.is_unsent


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_a_call_that_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    endless = sends(head(200, content_length="9999"), *[b"x"] * 50, pause=0.1)
    with scripted(endless) as server:
        async with AsyncMoragClient(base_url=server.url, api_version="r2") as client:
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await client.download("/api/files/temp/t/x.md", to=tmp_path)

    assert time.monotonic() - began < 3
    assert names_in(tmp_path) == []


async def test_a_slow_disk_does_not_hold_up_the_loop(
    document: Path, mock: MockMorag, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = Body.next

    def slowly(body: Body) -> bytes:
        time.sleep(0.3)
        return reads(body)

    monkeypatch.setattr(Body, "next", slowly)
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - before)

    async with AsyncMoragClient(base_url=mock.url, api_key=API_KEY) as client:
        ticking = asyncio.create_task(tick())
        await client.ingest_file(document)
        ticking.cancel()

    assert longest < 0.25
