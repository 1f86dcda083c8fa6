"""The tables: made once whoever comes first, refused where they are not ours, and as the code believes them to be."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import deliveries
import inboxes
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from morag_client.errors import ConfigurationError
from morag_client.inbox import schema
from morag_client.inbox.database import Database, locate
from morag_client.inbox.tables import Tables, make_tables

START = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
import inboxes

async def main():
    sys.stdin.readline()
    async with inboxes.opened(sys.argv[2]):
        print("opened")

asyncio.run(main())
"""


async def in_plain_sql(url: str, *statements: str) -> None:
    database = Database(locate(url))
    async with database.writing() as connection:
        for statement in statements:
            await connection.exec_driver_sql(statement)
    await database.close()


async def on_connection(url: str, function: Any, *arguments: Any) -> Any:
    database = Database(locate(url))
    try:
        async with database.reading() as connection:
            return await connection.run_sync(function, *arguments)
    finally:
        await database.close()


def test_four_processes_that_start_at_once_migrate_once(database_url: str) -> None:
    tests = str(Path(inboxes.__file__).parent)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", START, tests, database_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    said = []
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=40) for process in processes]

    assert said == [("opened\n", "")] * 4
    assert [process.returncode for process in processes] == [0] * 4


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
        async with inbox.database.writing() as connection:
            await connection.run_sync(made.metadata.create_all)

    for table in migrated.metadata.tables:
        assert await on_connection(database_url, columns_of, table) == await on_connection(
            database_url, columns_of, f"made_{table}"
        )


def columns_of(connection: Connection, table: str) -> list[dict[str, Any]]:
    return [column | {"type": str(column["type"])} for column in inspect(connection).get_columns(table)]


@pytest.mark.parametrize("change", ["ALTER TABLE webhook_events DROP COLUMN hidden", "DROP TABLE webhook_workers"])
async def test_a_difference_between_tables_and_code_would_be_found(database_url: str, change: str) -> None:
    async with inboxes.opened(database_url):
        pass
    await in_plain_sql(database_url, change)

    assert len(await on_connection(database_url, differences, make_tables())) == 1


async def test_a_newer_revision_is_refused_with_what_to_do(database_url: str) -> None:
    async with inboxes.opened(database_url):
        pass
    await in_plain_sql(database_url, "UPDATE webhook_schema_version SET version_num = '9999'")

    with pytest.raises(ConfigurationError, match=r"revision '9999'.*install a newer morag-client"):
        async with inboxes.opened(database_url):
            pass


@pytest.mark.parametrize("table", ["webhook_events", "webhook_tasks"])
async def test_a_table_that_is_not_ours_is_refused_and_a_prefix_is_the_way_out(database_url: str, table: str) -> None:
    await in_plain_sql(database_url, f"CREATE TABLE {table} (id VARCHAR PRIMARY KEY, note TEXT)")

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
