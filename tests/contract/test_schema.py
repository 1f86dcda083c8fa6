"""The tables: made once whoever comes first, refused where they are not ours, and as the code believes them to be."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import databases
import deliveries
import inboxes
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect
from workers import Worker, sequences

from morag_client.errors import ConfigurationError
from morag_client.inbox import schema
from morag_client.inbox.database import Database
from morag_client.inbox.location import locate
from morag_client.inbox.queries import Queries
from morag_client.inbox.tables import Tables, make_tables
from morag_client.wire.identity import task_key

INDEXES = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL",
    "postgres": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
}

START = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
import inboxes

async def main():
    print("ready", flush=True)
    sys.stdin.readline()
    async with inboxes.opened(sys.argv[2]):
        print("opened")

asyncio.run(main())
"""


async def on_connection(url: str, function: Any, *arguments: Any) -> Any:
    database = Database(locate(url))
    try:
        return await database.read(lambda connection: function(connection, *arguments))
    finally:
        await database.close()


async def migrate_to(url: str, revision: str) -> None:
    """Brings the tables to an earlier revision, as an earlier release left them."""

    def work(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(schema.MIGRATIONS))
        config.attributes.update(connection=connection, prefix="", version_table="webhook_schema_version")
        command.upgrade(config, revision)

    database = Database(locate(url))
    await database.prepare()
    await database.write(work)
    await database.close()


def open_in_processes(url: str, count: int) -> None:
    """Opens the inbox in so many processes at once; each must get it without a word."""
    tests = str(Path(inboxes.__file__).parent)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", START, tests, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=40) for process in processes]

    assert said == [("opened\n", "")] * count
    assert [process.returncode for process in processes] == [0] * count


async def test_four_processes_that_start_at_once_migrate_once(database_url: str) -> None:
    open_in_processes(database_url, 4)

    assert await on_connection(database_url, differences, make_tables()) == []


# As 0001 left them: an event that is handled, one that waits, their task, and what was not understood.
EVENT = """
    INSERT INTO webhook_events (id, task_id, event_type, name, dialect, source, task_key, identity, path, query,
        headers, body, received_at, state, sequence)
    VALUES ({id}, 'a', 'task_started', 'task.started', 'envelope', 'webhook', {key}, {identity}, '/webhook', '', '{{}}',
        {identity}, '2026-01-01 00:00:00.000000', '{state}', {sequence})
"""
RUN = "INSERT INTO webhook_handler_runs (id, record_id, handler, state, attempts) VALUES (1, 1, 'x', 'succeeded', 1)"
TASK = "INSERT INTO webhook_tasks (key, task_id, owner, epoch, sequence) VALUES ({key}, 'a', NULL, 1, 1)"
QUARANTINED = """
    INSERT INTO webhook_quarantine (id, status, code, problems, identity, path, query, headers, received_at)
    VALUES (1, 422, 'invalid', '[]', {identity}, '/webhook', '', '{{}}', '2026-01-01 00:00:00.000000')
"""


def earlier_data(kind: str) -> list[str]:
    literal = {"sqlite": "x'{}'", "postgres": "'\\x{}'::bytea"}[kind]
    key, one, two = (literal.format(value.hex()) for value in (task_key(tenant="", task_id="a"), b"1" * 16, b"2" * 16))
    sequences = [f"SELECT setval('webhook_{name}_id_seq', 2)" for name in ("events", "handler_runs", "quarantine")]
    return [
        EVENT.format(id=1, key=key, identity=one, state="handled", sequence=1),
        EVENT.format(id=2, key=key, identity=two, state="stored", sequence="NULL"),
        RUN,
        TASK.format(key=key),
        QUARANTINED.format(identity=one),
        *(sequences if kind == "postgres" else []),
    ]


async def test_an_earlier_releases_data_is_kept_and_goes_on(database: databases.TestDatabase) -> None:
    await migrate_to(database.url, "0001")
    database.execute(*earlier_data(database.kind))

    open_in_processes(database.url, 4)

    async with inboxes.opened(database.url) as inbox:
        handled, waiting = (await Queries(inbox).get(1), await Queries(inbox).get(2))
        assert (handled.state, handled.sequence, handled.is_late, handled.body) == ("handled", 1, None, b"1" * 16)
        assert [(run.handler, run.state, run.next_attempt_at) for run in handled.runs] == [("x", "succeeded", None)]
        assert len(await inboxes.rows_of(inbox, "quarantine")) == 1
        grant = await Worker(inbox, "ann").claim_one(waiting.id)
        assert (grant.epoch, sequences(grant)) == (2, {2: 2})
        assert (await inboxes.record(inbox, deliveries.task_body("a"))).record_id == 3
    assert await on_connection(database.url, differences, make_tables()) == []


async def test_the_revision_is_the_newest_and_a_second_start_changes_nothing(database_url: str) -> None:
    for _ in range(2):
        async with inboxes.opened(database_url):
            pass

    assert await on_connection(database_url, schema.current, make_tables()) == schema.HEAD


def test_the_constant_is_the_newest_migration() -> None:
    assert ScriptDirectory(str(schema.MIGRATIONS)).get_heads() == [schema.HEAD]


@pytest.mark.parametrize("prefix", ["", "morag_"])
async def test_the_migrated_tables_are_those_the_code_uses(database_url: str, prefix: str) -> None:
    async with inboxes.opened(database_url, prefix=prefix):
        pass

    assert await on_connection(database_url, differences, make_tables(prefix)) == []


def differences(connection: Connection, tables: Tables) -> list[Any]:
    def is_ours(name: str | None, kind: str, _: Any) -> bool:
        return kind != "table" or name != tables.version

    options = {"compare_type": True, "include_name": is_ours}
    return compare_metadata(MigrationContext.configure(connection, opts=options), tables.metadata)


async def test_columns_have_the_defaults_that_the_code_gives_them(database_url: str) -> None:
    async with inboxes.opened(database_url) as inbox:  # one half migrated, the other made from the code
        migrated, made = make_tables(), make_tables("made_")
        await inbox.database.write(made.metadata.create_all)

    for table in migrated.metadata.tables:
        assert await on_connection(database_url, columns_of, table) == await on_connection(
            database_url, columns_of, f"made_{table}"
        )


def columns_of(connection: Connection, table: str) -> list[dict[str, str]]:
    found = inspect(connection).get_columns(table)
    return [{name: str(value).replace("made_", "") for name, value in column.items()} for column in found]


@pytest.mark.parametrize("change", ["ALTER TABLE webhook_events DROP COLUMN hidden", "DROP TABLE webhook_workers"])
async def test_a_difference_between_tables_and_code_would_be_found(
    database: databases.TestDatabase, change: str
) -> None:
    async with inboxes.opened(database.url):
        pass
    database.execute(change)

    assert len(await on_connection(database.url, differences, make_tables())) == 1


async def test_indexes_have_the_conditions_that_the_code_gives_them(database: databases.TestDatabase) -> None:
    async with inboxes.opened(database.url) as inbox:  # one half migrated, the other made from the code
        migrated, made = make_tables(), make_tables("made_")
        await inbox.database.write(made.metadata.create_all)

    indexes = {name: re.sub(r"\s+", " ", sql.replace('"', "")) for name, sql in database.query(INDEXES[database.kind])}
    partial = [index.name for table in migrated.metadata.tables.values() for index in table.indexes]
    assert len(partial) == 10
    for name in partial:
        of_code = indexes[name.replace("ix_webhook", "ix_made_webhook")]
        assert " WHERE " in of_code
        assert indexes[name] == of_code.replace("made_webhook", "webhook")


async def test_a_newer_revision_is_refused_with_what_to_do(database: databases.TestDatabase) -> None:
    async with inboxes.opened(database.url):
        pass
    database.execute("UPDATE webhook_schema_version SET version_num = '9999'")

    with pytest.raises(ConfigurationError, match=r"revision '9999'.*install a newer morag-client"):
        async with inboxes.opened(database.url):
            pass


@pytest.mark.parametrize("table", ["webhook_events", "webhook_tasks"])
async def test_a_table_that_is_not_ours_is_refused_and_a_prefix_is_the_way_out(
    database: databases.TestDatabase, table: str
) -> None:
    database_url = database.url
    database.execute(f"CREATE TABLE {table} (id VARCHAR PRIMARY KEY, note TEXT)")

    with pytest.raises(ConfigurationError, match=f"'{table}'.*table_prefix.*MORAG_TABLE_PREFIX"):
        async with inboxes.opened(database_url):
            pass
    async with inboxes.opened(database_url, prefix="morag_") as inbox:
        assert (await inboxes.record(inbox, deliveries.task_body())).is_new

    columns = await on_connection(database_url, lambda connection: inspect(connection).get_columns(table))
    assert [column["name"] for column in columns] == ["id", "note"]


async def test_two_prefixes_are_two_inboxes(database_url: str) -> None:
    body = deliveries.task_body()

    for prefix in ("", "a_", "b_"):
        async with inboxes.opened(database_url, prefix=prefix) as inbox:
            assert (await inboxes.record(inbox, body)).is_new
            await inboxes.quarantine(inbox, body, "x")


async def test_starting_at_once_in_one_process(database_url: str) -> None:
    async def open_one() -> int:
        async with inboxes.opened(database_url) as inbox:
            return (await inboxes.record(inbox, deliveries.task_body())).record_id

    assert sorted(await asyncio.gather(*(open_one() for _ in range(4)))) == [1, 2, 3, 4]
