"""One row that the database refuses, in a batch with others: they are stored, and it is in quarantine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import struct
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import commands
import databases
import deliveries
import pytest
from senders import Answer, senders

BATCH = 64
REFUSED = "задача-1"


@pytest.fixture(params=databases.KINDS)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[databases.TestDatabase]:
    """A database that does not take every text that we let through."""
    with databases.fresh(request.param, tmp_path) as made:
        if made.kind == "sqlite":
            yield made
            return
        # Its encoding knows no Cyrillic letters, as that of an old server may.
        name = urlsplit(made.url).path[1:] + "_latin1"
        made.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING LATIN1 LC_COLLATE 'C' LC_CTYPE 'C'")
        try:
            yield databases.TestDatabase("postgres", urlsplit(made.url)._replace(path=f"/{name}").geturl())
        finally:
            made.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("place", [0, 40, BATCH - 1])
async def test_one_bad_row_in_a_batch_is_quarantined_and_the_others_are_stored(
    database: databases.TestDatabase, tmp_path: Path, place: int
) -> None:
    tasks = [f"task-{number}" for number in range(BATCH)]
    tasks[place] = REFUSED
    with commands.served(tmp_path, "--no-access-log", "--database-url", database.url) as served:
        async with senders(served.url, each=BATCH + 1) as everybody:
            await everybody[0].post(deliveries.task_body("before"))
            if database.kind == "sqlite":
                refuse(database)
            commits = commits_of(database)
            # given a commit that is under way, so that all that comes meanwhile shares the next one
            async with held_up(database):
                first = asyncio.create_task(everybody[-1].post(deliveries.task_body("first")))
                await asyncio.sleep(0.3)
                posts = [
                    asyncio.create_task(sender.post(deliveries.task_body(task)))
                    for sender, task in zip(everybody, tasks, strict=False)
                ]
                await asyncio.sleep(0.7)
            answers = await asyncio.gather(*posts)
            assert (await first).status == 200
            commits = commits_of(database) - commits
            again = await everybody[0].post(deliveries.task_body(REFUSED))
        assert served.stop() == 0

    assert [answer.word for answer in answers if answer.status == 200] == ["received"] * (BATCH - 1)
    assert_is_refusal(answers[place])
    assert_is_refusal(again)
    stored = {task for (task,) in database.query("SELECT task_id FROM webhook_events")}
    assert stored == {*tasks, "before", "first"} - {REFUSED}
    kept = database.query("SELECT status, code, body FROM webhook_quarantine")
    assert [(status, code) for status, code, _ in kept] == [(400, "rejected")] * 2
    assert {json.loads(body)["data"]["task_id"] for _, _, body in kept} == {REFUSED}
    if database.kind == "postgres":
        transactions = database.query("SELECT count(*) FROM webhook_events WHERE id > 2 GROUP BY xmin::text ORDER BY 1")
        assert [rows for (rows,) in transactions] == [1, 2, 4, 8, 16, 32]  # the halves without it
    else:
        assert commits == 1 + 6 + 1  # the first one, the halves without it, and its quarantine


def assert_is_refusal(answer: Answer) -> None:
    assert answer.status == 400
    refused = json.loads(answer.body)
    assert (refused["status"], refused["code"]) == ("rejected", "rejected")
    assert refused["problems"][0].startswith("the database refused it: ")


def refuse(database: databases.TestDatabase) -> None:
    """SQLite takes whatever fits its limits; what it refuses is what its owner tells it to."""
    database.execute(
        f"CREATE TRIGGER refuse BEFORE INSERT ON webhook_events WHEN NEW.task_id = '{REFUSED}'"
        " BEGIN SELECT RAISE(ABORT, 'no such task'); END"
    )


def commits_of(database: databases.TestDatabase) -> int:
    """How many commits are in SQLite's log: its frames that say how large the file is after them."""
    if database.path is None:
        return 0
    log = database.path.with_name(database.path.name + "-wal").read_bytes()
    page_size, salts = struct.unpack_from(">I", log, 8)[0], log[16:24]
    frames = range(32, len(log), 24 + page_size)
    # What has other salts is left from before the log was begun anew.
    return sum(log[frame + 8 : frame + 16] == salts and log[frame + 4 : frame + 8] != bytes(4) for frame in frames)


@contextlib.asynccontextmanager
async def held_up(database: databases.TestDatabase) -> AsyncIterator[None]:
    """Nothing can be inserted meanwhile."""
    if database.path is not None:
        with contextlib.closing(sqlite3.connect(database.path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")
        return
    connection = await asyncpg.connect(database.url)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE webhook_events IN EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()
