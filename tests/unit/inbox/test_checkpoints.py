"""The write-ahead log of a SQLite file is copied back beside the writer, and does not grow without end."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from pathlib import Path

import deliveries
import inboxes
import pytest
from sqlalchemy import Connection

from morag_client.inbox.checkpoints import Checkpoints

PAGE = 4096


def churn(connection: Connection) -> None:
    """Some 2,000 changes, which take some 500 pages."""
    connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS churned (id INTEGER PRIMARY KEY, text TEXT)")
    connection.exec_driver_sql("INSERT INTO churned (text) VALUES (?)", [(f"{number:0900}",) for number in range(2000)])


async def test_a_log_that_is_written_all_the_time_is_started_anew(tmp_path: Path) -> None:
    log = tmp_path / "inbox.db-wal"
    async with inboxes.opened(f"sqlite:///{tmp_path}/inbox.db") as inbox:
        for _ in range(60):
            await inbox.database.write(churn)
            await asyncio.sleep(0.005)

        # All of it would be some 120 MB.
        assert log.stat().st_size < 40 * 1024 * 1024
        assert (tmp_path / "inbox.db").stat().st_size > 60 * 1024 * 1024
        assert (await inboxes.record(inbox, deliveries.task_body())).is_new


async def test_a_reader_that_holds_the_log_back_costs_no_commit(tmp_path: Path) -> None:
    async with inboxes.opened(f"sqlite:///{tmp_path}/inbox.db") as inbox:
        await inbox.database.write(churn)
        reader = sqlite3.connect(tmp_path / "inbox.db", isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM churned").fetchone()
        began = time.monotonic()
        for _ in range(20):
            await inbox.database.write(churn)
        assert time.monotonic() - began < 10
        assert reader.execute("SELECT count(*) FROM churned").fetchone() == (2000,)
        reader.close()


def test_trouble_is_told_and_is_nobodys_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def connect() -> sqlite3.Connection:
        raise sqlite3.OperationalError("unable to open database file")

    driver = sqlite3.connect(tmp_path / "x.db")
    driver.execute("CREATE TABLE numbers (number)")
    driver.executemany("INSERT INTO numbers VALUES (?)", [(number,) for number in range(7000)])
    driver.commit()
    checkpoints = Checkpoints(connect)
    with caplog.at_level(logging.WARNING, "morag_client.inbox"):
        checkpoints.after_commit(driver)
        checkpoints.wait()
    driver.close()

    checkpoints.after_commit(driver)  # closed: an error here would be that of a commit which has succeeded

    assert [record.getMessage() for record in caplog.records][:1] == [
        "the write-ahead log could not be copied back: unable to open database file"
    ]
