"""What a large file costs a client: time, and hardly any memory, up and down."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from both_clients import KINDS, Kind
from scripted import Asked, head, says, scripted

MIB = 1024 * 1024
MOST_MIB = 60

UPLOAD = """
async def work(client, wait):
    told = []
    await wait(client.ingest_file(sys.argv[3], on_progress=lambda sent, total: told.append(sent)))
    assert told[-1] == os.path.getsize(sys.argv[3])
"""

DOWNLOAD = """
async def work(client, wait):
    await wait(client.download("/api/files/temp/t/large.bin", to=sys.argv[3]))
"""

PROGRAM = """
import asyncio, os, resource, sys
from morag_client import AsyncMoragClient, MoragClient
from morag_client.api.models import Submission
{work}
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

async def at_once(answer):
    return answer

async def awaited(answer):
    return await answer

async def main():
    if sys.argv[1] == "sync":
        with MoragClient(base_url=sys.argv[2], api_version="r2", timeout_seconds=60) as client:
            client.status("t")
            before = peak()
            await work(client, at_once)
    else:
        async with AsyncMoragClient(base_url=sys.argv[2], api_version="r2", timeout_seconds=60) as client:
            await client.status("t")
            before = peak()
            await work(client, awaited)
    print(peak() - before)

asyncio.run(main())
"""


def grown_mib(work: str, *arguments: str, timeout: float) -> int:
    """By how much the memory of a process of its own grew at most, in MiB."""
    code = PROGRAM.replace("{work}", work)
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.fixture
def mib(request: pytest.FixtureRequest) -> int:
    found: int = request.config.getoption("--upload-mib")
    request.node.add_marker(pytest.mark.timeout(60 + found // 10))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_an_upload_needs_no_memory_to_speak_of(kind: Kind, mib: int, tmp_path: Path) -> None:
    large = tmp_path / "large.mp4"
    with large.open("wb") as file:
        file.truncate(mib * MIB)
    with scripted(says({"task_id": "t", "status": "x"})) as server:
        grown = grown_mib(UPLOAD, kind, server.url, str(large), timeout=60 + mib / 10)

    assert server.asked[-1].size > mib * MIB
    assert grown <= MOST_MIB


@pytest.mark.parametrize("kind", KINDS)
def test_a_download_needs_no_memory_to_speak_of(kind: Kind, mib: int, tmp_path: Path) -> None:
    place = tmp_path / "large.bin"
    with scripted(says({"task_id": "t", "status": "x"}), zeros(mib)) as server:
        grown = grown_mib(DOWNLOAD, kind, server.url, str(place), timeout=60 + mib / 10)

    assert place.stat().st_size == mib * MIB
    assert grown <= MOST_MIB


def zeros(mib: int) -> Callable[[socket.socket, Asked], None]:
    """So many MiB of nothing."""

    def scene(connection: socket.socket, _asked: Asked) -> None:
        connection.sendall(head(200, content_length=str(mib * MIB)))
        for _ in range(mib):
            connection.sendall(bytes(MIB))

    return scene
