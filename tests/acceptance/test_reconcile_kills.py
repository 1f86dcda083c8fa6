"""kill -9 while two receivers reconcile and late webhooks come: each end is told by one record, and handled."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any, Self

import commands
import databases
import deliveries
import httpx2
import inboxes
import pytest
from mocking import asked
from receiving import eventually

MODULE = """
from morag_client import Event, Receiver, on


@on("task.*", name="note")
async def note(event: Event) -> None:
    pass


receiver = Receiver(reconcile_interval=0.2, reconcile_silence=0.0, lease=1.0)
"""
TASKS = 24
KILLS = 4


class Late:
    """The webhooks of the same, sent to whoever serves until they are accepted."""

    def __init__(self, task_ids: list[str]) -> None:
        self.address: str | None = None
        self.left = [deliveries.task_body(task_id, "completed") for task_id in task_ids]
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._send, name="late webhooks")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(20)

    def _send(self) -> None:
        with httpx2.Client(timeout=5) as http:
            while self.left and not self._stopped.wait(0.05):
                body = self.left[0]
                with contextlib.suppress(httpx2.HTTPError):
                    answer = http.post(f"{self.address}/webhook", content=body, headers=deliveries.headers(body))
                    if answer.status_code == httpx2.codes.OK:
                        self.left.pop(0)


@pytest.mark.parametrize("kind", databases.KINDS)
def test_killed_while_they_reconcile(tmp_path: Path, kind: str) -> None:
    (tmp_path / "app.py").write_text(MODULE)
    dice = random.Random(7)  # noqa: S311
    with (
        databases.fresh(kind, tmp_path) as database,
        asked(profile="r1", max_retries=0) as morag,
    ):
        given = {"MORAG_DATABASE_URL": database.url, "MORAG_API_URL": morag.mock.url, "MORAG_API_KEY": "test-api-key"}

        def serving() -> Any:
            return commands.served(tmp_path, "app:receiver", **given)

        task_ids = [morag.wait(morag.upload("/api/v1/ingest/file").json()["task_id"]) for _ in range(TASKS)]
        databases.in_thread(begun(database.url, task_ids))

        with Late(task_ids[::2]) as late:
            for _ in range(KILLS):
                with serving() as one, serving() as other:
                    late.address = dice.choice([one.url, other.url])
                    time.sleep(dice.uniform(0.0, 0.8))
                    one.process.send_signal(signal.SIGKILL)
                    time.sleep(dice.uniform(0.0, 0.3))
                    other.stop(signal.SIGKILL)
            with serving() as last:
                late.address = last.url
                eventually(lambda: not late.left, seconds=20)
                eventually(lambda: told(database) == sorted(task_ids), seconds=30)
                with Late(task_ids[1::8]) as later:
                    later.address = last.url
                    eventually(lambda: not later.left, seconds=20)
                eventually(lambda: database.query("SELECT id FROM webhook_events WHERE state <> 'handled'") == [])
                assert last.stop() == 0

        assert told(database) == sorted(task_ids)
        assert runs_of_what_belongs_to_another(database) == []
        ends = database.query("SELECT id, task_id, belongs_to FROM webhook_events WHERE name = 'task.completed'")
        first = {task_id: record_id for record_id, task_id, belongs_to in ends if belongs_to is None}
        assert {first[task_id] - belongs_to for _, task_id, belongs_to in ends if belongs_to is not None} == {0}
        assert len(ends) >= TASKS + len(task_ids[1::8])


async def begun(url: str, task_ids: list[str]) -> None:
    """Stores that these tasks have started, as the last that was heard of them."""
    async with inboxes.opened(url) as inbox:
        for task_id in task_ids:
            await inboxes.record(inbox, deliveries.task_body(task_id, "started"))


def told(database: databases.TestDatabase) -> list[str]:
    """The tasks of whose completion a handler was told, once for each record for which it was."""
    runs = "SELECT record_id FROM webhook_handler_runs WHERE state = 'succeeded'"
    handled = "state = 'handled' AND belongs_to IS NULL"
    rows = database.query(
        f"SELECT task_id FROM webhook_events WHERE name = 'task.completed' AND {handled} AND id IN ({runs})"  # noqa: S608
    )
    return sorted(row[0] for row in rows)


def runs_of_what_belongs_to_another(database: databases.TestDatabase) -> list[tuple[Any, ...]]:
    return database.query(
        "SELECT id FROM webhook_events WHERE belongs_to IS NOT NULL"
        " AND id IN (SELECT record_id FROM webhook_handler_runs)"
    )
