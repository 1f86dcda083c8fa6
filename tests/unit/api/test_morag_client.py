"""The client over real sockets."""

from __future__ import annotations

import logging
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from recording import Recorder

from morag_client import ApiError, ConfigurationError, MoragClient
from morag_client.testing import MockMorag

KEY = "test-api-key"
TEXT = "# Tides\n\nThe tide is the rise of the sea.\n"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MORAG_API_URL", "MORAG_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def mock() -> Iterator[MockMorag]:
    with MockMorag() as served:
        yield served


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "tides.md"
    path.write_text(TEXT)
    return path


def test_submits_and_asks(mock: MockMorag, document: Path) -> None:
    with Recorder() as recorder, MoragClient(base_url=mock.url, api_key=KEY) as client:
        submitted = client.ingest_file(document, webhook_url=recorder.url, metadata={"document_id": "d1"})
        mock.wait(submitted.task_id)
        status = client.status(submitted.task_id)
        history = client.history(submitted.task_id)

    assert submitted.status == "pending"
    assert (status.status, status.progress) == ("success", 1.0)
    assert status.result is not None
    assert status.result["chunks_created"] == 1
    assert status.created_at is not None
    assert status.created_at.tzinfo is not None
    assert history.event_count == 14
    assert recorder.payloads[0]["data"]["metadata"]["document_id"] == "d1"


def test_the_environment_names_server_and_key(mock: MockMorag, document: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MORAG_API_URL", mock.url)
    monkeypatch.setenv("MORAG_API_KEY", KEY)
    with MoragClient() as client:
        assert client.ingest_file(str(document)).task_id


def test_a_wrong_key_is_refused(mock: MockMorag, document: Path) -> None:
    with (
        MoragClient(base_url=mock.url, api_key="wrong") as client,
        pytest.raises(ApiError, match="MORAG_API_KEY") as no,
    ):
        client.ingest_file(document)

    assert no.value.status_code == 401
    assert no.value.detail == "Invalid or missing API key"


def test_nobody_there(document: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (
        MoragClient(base_url=f"http://127.0.0.1:{port}", attempts=1) as client,
        pytest.raises(ApiError, match="is it running") as no,
    ):
        client.ingest_file(document)

    assert no.value.status_code is None


def test_too_slow() -> None:
    with (
        Recorder(delay=0.5) as recorder,
        MoragClient(api_version="r1", base_url=recorder.base_url, timeout_seconds=0.1, attempts=1) as client,
        pytest.raises(ApiError, match="timeout_seconds="),
    ):
        client.status("t")


def test_what_is_no_morag() -> None:
    with (
        Recorder(answer=b"<html>hello</html>") as recorder,
        MoragClient(api_version="r1", base_url=recorder.base_url) as client,
        pytest.raises(ApiError, match="not understood"),
    ):
        client.status("t")


def test_a_base_url_may_have_a_path_and_the_key_goes_with_it() -> None:
    with (
        Recorder(answer=b'{"task_id": "t", "status": "pending"}') as recorder,
        MoragClient(api_version="r1", base_url=f"{recorder.base_url}/morag/", api_key="k") as client,
    ):
        assert client.status("a/b").status == "pending"

    assert recorder.arrivals[0].path == "/morag/api/v1/status/a%2Fb"
    assert recorder.arrivals[0].headers["authorization"] == "Bearer k"


def test_without_a_key_none_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MORAG_API_KEY", "")
    with (
        Recorder(answer=b'{"task_id": "t", "status": "pending"}') as recorder,
        MoragClient(api_version="r1", base_url=recorder.base_url) as client,
    ):
        client.status("t")

    assert "authorization" not in recorder.arrivals[0].headers


@pytest.mark.parametrize("user", ["", "user:hunter2@"])
def test_the_key_shows_nowhere(user: str, document: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with (
        Recorder(500, answer=b'{"detail": "no k3y-0f-mine"}') as recorder,
        MoragClient(
            api_version="r1",
            base_url=recorder.base_url.replace("//", f"//{user}"),
            api_key=None if user else "k3y-0f-mine",
        ) as client,
        pytest.raises(ApiError) as caught,
    ):
        client.ingest_file(document)

    shown = f"{client!r} {vars(client)} {caught.value} {caught.value.__cause__!r} {caplog.text}"
    assert user or "k3y-0f-mine" not in shown
    assert "hunter2" not in shown
    assert recorder.arrivals[0].headers["authorization"].startswith("Basic " if user else "Bearer ")
    assert repr(client) == f"MoragClient(base_url='{recorder.base_url}')"


def test_a_user_in_the_url_and_a_key_are_too_much() -> None:
    with pytest.raises(ConfigurationError, match="leave one") as caught:
        MoragClient(base_url="http://user:hunter2@localhost", api_key="k3y-0f-mine")

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "options", [{"timeout_seconds": 0}, {"timeout_seconds": float("inf")}, {"attempts": 0}, {"api_version": "r4"}]
)
def test_what_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        MoragClient(**options)


@pytest.mark.parametrize("key", ["line\nend", "two words", "schlüssel", "\x00"])
def test_a_key_that_no_header_carries_is_refused_unseen(key: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        MoragClient(api_key=key)

    assert key not in str(caught.value)


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", "http://", "http://[::1", "http://x:99999"])
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(ConfigurationError, match="MORAG_API_URL"):
        MoragClient(base_url=url)


def test_a_file_that_is_not_there_is_the_systems_error(mock: MockMorag, tmp_path: Path) -> None:
    with MoragClient(base_url=mock.url, api_key=KEY) as client, pytest.raises(FileNotFoundError):
        client.ingest_file(tmp_path / "nowhere.pdf")


def test_a_large_file_is_streamed_from_disk(tmp_path: Path) -> None:
    size = 64 * 1024 * 1024
    large = tmp_path / "large.pdf"
    with large.open("wb") as file:
        file.truncate(size)
    drained: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=drain, args=(listening, size, drained))
        thread.start()
        with MoragClient(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", api_version="r1") as client:
            tracemalloc.start()
            assert client.ingest_file(large).task_id == "t"
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        thread.join()

    assert drained[0] > size
    assert peak < 4 * 1024 * 1024


def drain(listening: socket.socket, size: int, drained: list[int]) -> None:
    """Takes a request of more than `size` bytes without keeping it, and answers."""
    connection, _ = listening.accept()
    with connection:
        taken = count = 0
        buffer = bytearray(65536)
        while taken < size or b"--\r\n" not in buffer[:count]:
            count = connection.recv_into(buffer)
            taken += count
        drained.append(taken)
        connection.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 15\r\nconnection: close\r\n\r\n{"task_id":"t"}')


def test_a_proxy_for_the_world_is_not_asked_for_this_machine(
    mock: MockMorag, document: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with MoragClient(base_url=mock.url, api_key=KEY) as client:
        assert client.ingest_file(document).task_id
