"""A receiver that was killed for a part of MoRAG's pipeline and comes back: one round brings every task to its end."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import time
from collections import Counter
from pathlib import Path
from typing import Any

import commands
import deliveries
import httpx2
import pytest
from mocking import Asked, asked
from receiving import eventually, query

MODULE = """
import os

from morag_client import Event, Receiver, on

diary = os.open("diary", os.O_WRONLY | os.O_APPEND | os.O_CREAT)


@on("*")
async def note(event: Event) -> None:
    os.write(diary, f"{event.task_id} {event.name} {event.source}\\n".encode())


receiver = Receiver(reconcile_interval=INTERVAL, reconcile_silence=0.2, lease=1.0)
"""

Noted = Counter[tuple[str, str]]


def application(folder: Path, *, interval: str = "0.4") -> None:
    (folder / "app.py").write_text(MODULE.replace("INTERVAL", interval))


def serving(folder: Path, morag: Asked, **variables: str) -> Any:
    given = {"MORAG_DATABASE_URL": url(folder), "MORAG_API_URL": morag.mock.url, "MORAG_API_KEY": "test-api-key"}
    return commands.served(folder, "app:receiver", **given | variables)


def url(folder: Path) -> str:
    return f"sqlite:///{folder}/inbox.db"


def knows_since_when(folder: Path) -> bool:
    """Whether a receiver has begun: what MoRAG lists from before may be somebody else's."""
    try:
        return query(folder, "SELECT since FROM webhook_leases") != []
    except sqlite3.OperationalError:  # the tables are not there yet
        return False


def is_through(folder: Path) -> bool:
    return query(folder, "SELECT count(*) FROM webhook_events WHERE state <> 'handled'") == [(0,)]


def submit(morag: Asked, profile: str, url: str, **upload: Any) -> str:
    told = {"webhook_url": url, "metadata": {"document_id": "d-1"}}
    fields = {"request_data": told} if profile == "r2" else told
    answer = morag.upload("/api/v1/ingest/file", **fields, **upload)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["task_id"])


def noted(folder: Path, task_id: str) -> Noted:
    """What the handler was called for of a task: names with their sources, and how often."""
    diary = folder / "diary"
    lines = [line.split(" ") for line in diary.read_text().splitlines()] if diary.exists() else []
    return Counter((name, source) for task, name, source in lines if task == task_id)


def ends(folder: Path, task_id: str) -> Noted:
    final = {"task.completed", "task.failed"}
    return Counter({one: number for one, number in noted(folder, task_id).items() if one[0] in final})


def until_ended(folder: Path, *task_ids: str) -> None:
    eventually(lambda: all(ends(folder, task_id) for task_id in task_ids), seconds=20)


def command(folder: Path, morag: Asked, *arguments: str) -> Any:
    given = {"MORAG_API_URL": morag.mock.url, "MORAG_API_KEY": "test-api-key", "MORAG_DATABASE_URL": url(folder)}
    return commands.run(folder, "reconcile", *arguments, secret=None, **given)


@pytest.mark.parametrize("profile", ["guide", "r1", "r2"])
def test_after_an_outage_every_task_comes_to_its_end_once(tmp_path: Path, profile: str) -> None:
    application(tmp_path)
    with asked(profile=profile, webhook_secret=deliveries.SECRET, speed=0.1, max_retries=0) as morag:
        with serving(tmp_path, morag) as receiver:
            before = submit(morag, profile, f"{receiver.url}/webhook")
            until_ended(tmp_path, before)
            half = submit(morag, profile, f"{receiver.url}/webhook")
            eventually(lambda: noted(tmp_path, half), seconds=20)
            receiver.stop(signal.SIGKILL)
        assert not ends(tmp_path, half)
        within = submit(morag, profile, f"{receiver.url}/webhook")
        failing = submit(morag, profile, f"{receiver.url}/webhook", name="broken.pdf", content=b"%PDF-1.4 no more")
        for task_id in (half, within, failing):
            morag.wait(task_id)

        with serving(tmp_path, morag) as receiver:
            until_ended(tmp_path, half, within, failing)
            eventually(lambda: is_through(tmp_path))
            # Again, over a kill: nothing is made or told a second time.
            receiver.stop(signal.SIGKILL)
        with serving(tmp_path, morag) as receiver:
            report = json.loads(command(tmp_path, morag, "--json").stdout)
            receiver.stop()

        assert ends(tmp_path, before) == {("task.completed", "webhook"): 1}
        assert ends(tmp_path, half) == {("task.completed", "reconcile"): 1}
        assert ends(tmp_path, within) == {("task.completed", "reconcile"): 1}
        assert ends(tmp_path, failing) == {("task.failed", "reconcile"): 1}
        assert report["made"] == {}


def test_the_webhooks_that_still_come_are_kept_and_handled_by_nobody(tmp_path: Path) -> None:
    application(tmp_path)
    with asked(profile="r1", webhook_secret=deliveries.SECRET, max_retries=0) as morag:
        with serving(tmp_path, morag) as receiver:
            first = receiver.url
            eventually(lambda: knows_since_when(tmp_path))
            receiver.stop(signal.SIGKILL)
        task_id = submit(morag, "r1", f"{first}/webhook")
        morag.wait(task_id)
        with serving(tmp_path, morag) as receiver:
            until_ended(tmp_path, task_id)

            late = deliveries.task_body(task_id, "completed", result={"chunks_processed": 15})
            assert post(receiver.url, late) == {"status": "received"}
            assert post(receiver.url, late) == {"status": "duplicate"}
            records = eventually(lambda: through(tmp_path, task_id, names=2))
            receiver.stop()

    assert ends(tmp_path, task_id) == {("task.completed", "reconcile"): 1}
    assert [record["source"] for record in records if record["name"] == "task.completed"] == ["reconcile", "webhook"]


def post(address: str, body: bytes) -> Any:
    answer = httpx2.post(f"{address}/webhook", content=body, headers=deliveries.headers(body))
    assert answer.status_code == 200, answer.text
    return answer.json()


def through(folder: Path, task_id: str, *, names: int) -> list[dict[str, Any]]:
    """The records of a task's completion, the oldest first, once there are so many and they are handled."""
    listed = commands.run(folder, "events", "--task", task_id, "--json", "--database-url", url(folder), secret=None)
    records = [json.loads(line) for line in listed.stdout.splitlines()]
    found = [record for record in records if record["name"] == "task.completed"]
    return found[::-1] if len(found) == names and all(one["state"] == "handled" for one in found) else []


def test_two_receivers_on_one_database_make_one_record(tmp_path: Path) -> None:
    application(tmp_path)
    with asked(profile="r2", webhook_secret=deliveries.SECRET, max_retries=0) as morag:
        with serving(tmp_path, morag) as receiver:
            first = receiver.url
            eventually(lambda: knows_since_when(tmp_path))
            receiver.stop()
        task_ids = [submit(morag, "r2", f"{first}/webhook") for _ in range(8)]
        for task_id in task_ids:
            morag.wait(task_id)
        with serving(tmp_path, morag), serving(tmp_path, morag):
            command(tmp_path, morag)
            until_ended(tmp_path, *task_ids)

    assert [ends(tmp_path, task_id) for task_id in task_ids] == [{("task.completed", "reconcile"): 1}] * 8


def test_r3_has_nothing_to_ask_and_is_left_alone(tmp_path: Path) -> None:
    application(tmp_path)
    with asked(profile="r3") as morag, serving(tmp_path, morag) as receiver:
        eventually(lambda: "no status API" in receiver.output, seconds=10)
        result = command(tmp_path, morag)
        assert receiver.stop() == 0

    assert receiver.output.count("no status API") == 1
    assert (result.returncode, "no status API" in result.stdout + result.stderr) == (1, True)


def test_a_shutdown_does_not_wait_for_a_morag_that_hangs(tmp_path: Path) -> None:
    application(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with commands.served(tmp_path, "app:receiver", MORAG_API_URL=address) as receiver:
            assert post(receiver.url, deliveries.task_body("task-1", "started")) == {"status": "received"}
            silent.settimeout(10)
            connection, _ = silent.accept()
            with connection:
                assert connection.recv(16)
                began = time.monotonic()
                assert post(receiver.url, deliveries.task_body("task-1", "progress")) == {"status": "received"}
                assert receiver.stop() == 0
                assert time.monotonic() - began < 5
