"""PostgreSQL as an inbox: which server is meant, commits that last, plans that keep up, and whose fault an error is."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import databases
import deliveries
import inboxes
import pytest
from sqlalchemy import make_url, text

from morag_client.errors import ConfigurationError, InboxUnavailable
from morag_client.inbox.inbox import Inbox
from morag_client.inbox.location import locate
from morag_client.inbox.postgres_connections import connection_arguments
from morag_client.inbox.postgres_insertion import PostgresInsertion
from morag_client.inbox.queries import Queries
from morag_client.inbox.rows import EventRow


@pytest.fixture
def database(tmp_path: Path) -> Iterator[databases.TestDatabase]:
    with databases.fresh("postgres", tmp_path) as made:
        yield made


@pytest.fixture
async def inbox(database: databases.TestDatabase) -> AsyncIterator[Inbox]:
    async with inboxes.opened(database.url) as opened:
        yield opened


@pytest.fixture
async def insertion(inbox: Inbox) -> AsyncIterator[PostgresInsertion]:
    made = PostgresInsertion(inbox.database, patience=3.0)
    yield made
    await made.close()


def rows(count: int) -> list[EventRow]:
    base = inboxes.row(deliveries.task_body())
    return [base._replace(identity=os.urandom(16)) for _ in range(count)]


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg", "postgresql+psycopg"])
def test_every_spelling_of_a_server_is_one_place(scheme: str) -> None:
    location = locate(f"{scheme}://ann:hunter2@db.example:5433/app")

    assert not location.is_sqlite
    assert location.url.drivername == "postgresql+asyncpg"
    assert location.shown == "postgresql://ann:***@db.example:5433/app"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://ann@db.example", "names no database"),
        ("postgresql://ann@db.example:port/app", "cannot be read"),
        ("postgresql://ann:hunter2@db.example/app?channel_binding=require", "channel_binding"),
        ("postgresql://ann:hunter2@db.example/app?statement_cache_size=none", "cannot be used"),
    ],
)
def test_what_cannot_be_followed_is_refused_when_it_is_configured(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        locate(url)

    assert "hunter2" not in str(caught.value)


def test_without_its_driver_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)

    with pytest.raises(ConfigurationError, match=r"pip install 'morag-client\[postgres\]'"):
        locate("postgresql://db.example/app")


@pytest.mark.parametrize(
    ("rest", "arguments"),
    [
        ("ann@db.example/app", {"host": "db.example", "user": "ann", "database": "app"}),
        (
            "ann:p%40ss%2Fword@db.example:5433/app",
            {"host": "db.example", "port": 5433, "user": "ann", "password": "p@ss/word", "database": "app"},
        ),
        ("/app?host=/var/run/postgresql", {"host": "/var/run/postgresql", "database": "app"}),
        ("/app?host=/run/pg&port=5433&user=ann", {"host": "/run/pg", "port": 5433, "user": "ann", "database": "app"}),
        ("[::1]:5433/app", {"host": "::1", "port": 5433, "database": "app"}),
        ("/app?host=a:1&host=b:2", {"host": ["a", "b"], "port": [1, 2], "database": "app"}),
        ("db/app?ssl=require", {"host": "db", "database": "app", "ssl": "require"}),
        ("db/app?statement_cache_size=0", {"host": "db", "database": "app", "statement_cache_size": 0}),
        ("db/app?prepared_statement_cache_size=0", {"host": "db", "database": "app"}),
        ("db/app?channel_binding=prefer", {"host": "db", "database": "app"}),
        (
            "db/app?sslmode=verify-full&application_name=my app",
            {
                "host": "db",
                "database": "app",
                "dsn": "postgresql:///?sslmode=verify-full&application_name=my+app",
            },
        ),
    ],
)
def test_the_url_says_how_to_connect(rest: str, arguments: dict[str, Any]) -> None:
    url = make_url(f"postgresql+asyncpg://{rest}")

    assert connection_arguments(url) == arguments


async def test_what_psql_and_platforms_write_into_a_url_is_understood(database: databases.TestDatabase) -> None:
    url = f"{database.url}?sslmode=prefer&application_name=morag%20test&connect_timeout=5&statement_cache_size=0"

    async with inboxes.opened(url) as inbox:
        assert (await inboxes.record(inbox, deliveries.task_body())).is_new
        names = {
            name
            for (name,) in database.query(
                "SELECT application_name FROM pg_stat_activity WHERE datname = current_database()"
            )
        }

    assert "morag test" in names


SOCKETS = Path("/var/run/postgresql")


@pytest.mark.skipif(not list(SOCKETS.glob(".s.PGSQL.*")), reason=f"no PostgreSQL listens in {SOCKETS}")
async def test_a_socket_in_the_file_system_will_do(database: databases.TestDatabase) -> None:
    url = make_url(database.url)
    there = url.set(host=None, port=None, query={"host": str(SOCKETS), "port": str(url.port or 5432)})
    try:
        databases.in_thread(databases._fetch(there.render_as_string(hide_password=False), "SELECT 1"))
    except (OSError, asyncpg.PostgresError):
        pytest.skip("it does not let us in there")

    async with inboxes.opened(there.render_as_string(hide_password=False)) as inbox:
        assert (await inboxes.record(inbox, deliveries.task_body())).is_new


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"username": "nobody_of_this_name"}, "nobody_of_this_name"),
        ({"database": "nothing_of_this_name"}, "nothing_of_this_name"),
        ({"port": 1}, "Connect call failed"),
    ],
)
async def test_a_server_that_does_not_let_us_in_is_unavailable_and_says_why(change: dict[str, Any], says: str) -> None:
    databases.need_postgres()
    url = make_url(databases.SERVER).set(**change).render_as_string(hide_password=False)

    with pytest.raises(InboxUnavailable, match=says):
        async with inboxes.opened(url):
            pass


async def test_a_commit_is_on_the_disk_where_the_server_does_not_wait_for_that(
    database: databases.TestDatabase,
) -> None:
    name = database.url.rpartition("/")[2]
    database.execute(f"ALTER DATABASE {name} SET synchronous_commit TO off")

    async with inboxes.opened(database.url) as inbox:
        assert await inbox.database.write(lambda one: one.execute(text("SHOW synchronous_commit")).scalar()) == "on"
        database.execute(
            "CREATE TABLE seen (value TEXT)",
            "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NEW; END $$",
            "CREATE TRIGGER see BEFORE INSERT ON webhook_events FOR EACH ROW EXECUTE FUNCTION see()",
        )
        insertion = PostgresInsertion(inbox.database, patience=3.0)
        await insertion.insert(rows(1))
        await insertion._session.connection.execute("SET synchronous_commit TO off")  # as a pooler may lend it
        await insertion.insert(rows(1))
        await insertion._session.connection.execute("SET synchronous_commit TO local")
        await insertion.insert(rows(1))
        await insertion.close()

    assert database.query("SELECT value FROM seen") == [("on",), ("on",), ("local",)]


async def test_a_plan_that_was_made_for_a_small_table_is_not_kept_for_a_large_one(
    database: databases.TestDatabase, insertion: PostgresInsertion
) -> None:
    await insertion.insert(rows(3))
    database.execute("ANALYZE webhook_events")
    await insertion.close()

    for size in [1] * 10 + [50] * 60:  # PostgreSQL keeps a plan after five times
        await insertion.insert(rows(size))

    await insertion.close()
    await asyncio.sleep(0.2)  # until the server has counted
    [(scanned,)] = database.query("SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'webhook_events'")
    assert scanned < 300_000  # all of it for every row would be 4,500,000


async def test_the_same_rows_in_any_order_are_no_deadlock(database: databases.TestDatabase, inbox: Inbox) -> None:
    insertions = [PostgresInsertion(inbox.database, patience=3.0) for _ in range(4)]
    for _ in range(40):
        batch = rows(200)
        await asyncio.gather(*(one.insert(random.sample(batch, len(batch))) for one in insertions))
    for one in insertions:
        await one.close()
    await asyncio.sleep(0.2)  # until the server has counted

    assert database.query("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == [(0,)]


def error(sqlstate: str) -> asyncpg.PostgresError:
    return asyncpg.PostgresError.new({"C": sqlstate, "M": "so it is"})


@pytest.mark.parametrize(
    ("said", "passes"),
    [
        (error("08006"), True),
        (error("25006"), True),
        (error("40P01"), True),
        (error("42501"), True),
        (error("42P01"), True),
        (error("53100"), True),
        (error("53300"), True),
        (error("57P01"), True),
        (error("58030"), True),
        (error("XX001"), True),
        (asyncpg.InterfaceError("connection is closed"), True),
        (asyncpg.ConnectionDoesNotExistError("gone"), True),
        (asyncpg.exceptions.ClientConfigurationError("no such mode"), True),
        (TimeoutError(), True),
        (ConnectionResetError(), True),
        (error("22001"), False),
        (error("22021"), False),
        (error("23502"), False),
        (error("23514"), False),
        (error("54000"), False),
        (error("P0001"), False),
        (asyncpg.exceptions._base.DataError("invalid input for query argument $1"), False),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"), False),
    ],
)
async def test_whose_fault_an_error_is(insertion: PostgresInsertion, said: Exception, passes: bool) -> None:
    assert insertion.is_passing(said) is passes


async def test_a_server_that_only_reads_passes_and_is_left(database: databases.TestDatabase, inbox: Inbox) -> None:
    name = database.url.rpartition("/")[2]
    insertion = PostgresInsertion(inbox.database, patience=0.5)
    await insertion.insert(rows(1))
    await insertion._session.connection.execute("SET default_transaction_read_only TO on")

    [(_, is_new)] = await insertion.insert(rows(1))  # on another connection, as if the other server had taken over

    assert is_new
    database.execute(f"ALTER DATABASE {name} SET default_transaction_read_only TO on")
    await insertion._session.connection.execute("SET default_transaction_read_only TO on")
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError) as caught:
        await insertion.insert(rows(1))
    assert insertion.is_passing(caught.value)
    await insertion.close()


async def test_a_statement_that_the_server_forgot_is_made_again(insertion: PostgresInsertion) -> None:
    await insertion.insert(rows(1))
    await insertion._session.connection.execute("DEALLOCATE ALL")  # as it looks behind a pooler that knows none

    assert [is_new for _, is_new in await insertion.insert(rows(2))] == [True, True]


async def test_a_column_that_a_newer_release_adds_meanwhile_keeps_nothing_out(
    database: databases.TestDatabase, insertion: PostgresInsertion
) -> None:
    await insertion.insert(rows(1))

    database.execute(
        "ALTER TABLE webhook_events ADD COLUMN mood TEXT DEFAULT 'good'",
        "ALTER TABLE webhook_events DROP COLUMN hidden",
    )

    assert [is_new for _, is_new in await insertion.insert(rows(2))] == [True, True]
    assert [mood for (mood,) in database.query("SELECT mood FROM webhook_events")] == ["good"] * 3


async def test_what_is_due_is_found_by_its_index(database: databases.TestDatabase) -> None:
    async with inboxes.opened(database.url) as inbox:
        database.execute(
            "INSERT INTO webhook_handler_runs (record_id, handler, state, attempts, next_attempt_at)"
            " SELECT n, 'x', 'retrying', 1, CASE n WHEN 7 THEN 1 ELSE 1e12 END FROM generate_series(1, 20000) AS n",
            "ANALYZE webhook_handler_runs",
        )

        assert await Queries(inbox).due_ids(after=0, limit=9) == [7]

    await asyncio.sleep(0.2)  # until the server has counted
    asked = "SELECT seq_tup_read, idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'webhook_handler_runs'"
    [(scanned, fetched)] = database.query(asked)
    assert scanned + fetched < 100


PROGRAM = """
import asyncio, gc, sys, threading
sys.path.insert(0, sys.argv[1])
import deliveries, inboxes
from sqlalchemy import text

inbox = inboxes.Inbox(inboxes.locate(sys.argv[2]), commit_timeout=3.0, on_stored=inboxes.nothing)

async def first():
    await inbox.open()
    await asyncio.gather(*(inboxes.record(inbox, deliveries.task_body()) for _ in range(10)))
    await asyncio.gather(*(inbox.database.read(lambda one: one.execute(text("SELECT 1"))) for _ in range(5)))
    asyncio.ensure_future(inbox.database.read(lambda one: one.execute(text("SELECT pg_sleep(5)"))))
    asyncio.ensure_future(inbox.database.write(lambda one: one.execute(text("SELECT pg_sleep(5)"))))
    await asyncio.sleep(0.1)

async def second():
    await inbox.abandon()
    async with inboxes.opened(sys.argv[2]) as other:
        await inboxes.record(other, deliveries.task_body())

{ending}
del inbox
gc.collect()
print("threads", threading.active_count(), flush=True)
sys.stdin.readline()
"""
IN_ORDER = "asyncio.run(first())\nasyncio.run(second())"
ABRUPTLY = """
loop = asyncio.new_event_loop()
loop.run_until_complete(first())
loop.close()
asyncio.run(second())
"""


@pytest.mark.parametrize("ending", [IN_ORDER, ABRUPTLY], ids=["in order", "abruptly"])
def test_connections_go_with_the_event_loop(database: databases.TestDatabase, ending: str) -> None:
    tests = str(Path(inboxes.__file__).parent)
    flags = ["-W", "error"] if ending is IN_ORDER else []

    with subprocess.Popen(
        [sys.executable, *flags, "-c", PROGRAM.format(ending=ending), tests, database.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "threads 1\n"
        asking = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        left = [database.query(f"{asking} AND query NOT LIKE '%pg_sleep%'")]
        said = process.communicate("go\n", timeout=10)

    assert left == [[(0,)]]
    if ending is IN_ORDER:
        assert said == ("", "")
    assert database.query("SELECT count(*) FROM webhook_events") == [(11,)]
