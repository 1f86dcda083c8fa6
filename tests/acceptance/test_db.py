"""`morag-client db`: the tables made, brought up to date and checked, by a process of its own, on every database."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import commands
import databases
import pytest

from morag_client.inbox.schema import HEAD


@pytest.fixture
def run(database: databases.TestDatabase, tmp_path: Path):
    def db(*arguments: str) -> subprocess.CompletedProcess[str]:
        done = commands.run(tmp_path, "db", *arguments, "--database-url", database.url)
        assert "Traceback" not in done.stderr
        return done

    return db


def test_tables_are_made_once_and_then_found_up_to_date(run) -> None:
    first, second, current, check = run("upgrade"), run("upgrade"), run("current"), run("check")

    assert {done.returncode for done in (first, second, current, check)} == {0}
    assert f"made the tables, of revision {HEAD}" in first.stdout
    assert "nothing to do" in second.stdout
    assert current.stdout == f"{HEAD}\n"
    assert f"up to date (revision {HEAD})" in check.stdout
    assert json.loads(run("upgrade", "--json").stdout).items() >= {"from": HEAD, "to": HEAD}.items()
    assert json.loads(run("current", "--json").stdout)["revision"] == HEAD


@pytest.mark.parametrize(
    ("revision", "state", "says"), [("0001", "behind", "db upgrade"), ("0099", "newer", "install a newer")]
)
def test_other_revisions_are_found_and_say_what_to_do(run, database, revision: str, state: str, says: str) -> None:
    run("upgrade")
    database.execute(f"UPDATE webhook_schema_version SET version_num = '{revision}'")  # noqa: S608

    check = run("check")

    assert (check.returncode, check.stdout) == (1, "")
    assert revision in check.stderr
    assert says in check.stderr
    found = json.loads(run("check", "--json").stdout)
    assert (found["state"], found["revision"], found["newest"]) == (state, revision, HEAD)


def test_of_four_at_once_one_says_that_it_made_the_tables(database: databases.TestDatabase, tmp_path: Path) -> None:
    command = [commands.COMMAND, "db", "upgrade", "--database-url", database.url]
    at_once = [
        subprocess.Popen(
            command, cwd=tmp_path, env=commands.environment(secret=None), stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]

    said = sorted(process.communicate(timeout=30)[0].partition(": ")[2] for process in at_once)

    assert [process.returncode for process in at_once] == [0] * 4
    assert said == [
        f"made the tables, of revision {HEAD}\n",
        *[f"nothing to do, the tables are of revision {HEAD}\n"] * 3,
    ]


def test_tables_of_somebody_else_are_left_alone(run, database: databases.TestDatabase) -> None:
    database.execute("CREATE TABLE webhook_events (id INTEGER)", "INSERT INTO webhook_events VALUES (7)")

    check, upgrade = run("check"), run("upgrade")

    assert (check.returncode, upgrade.returncode) == (1, 2)
    assert "'webhook_events' that morag-client did not make" in check.stderr
    assert "table_prefix" in upgrade.stderr
    assert database.query("SELECT * FROM webhook_events") == [(7,)]


def test_where_there_is_no_file_only_upgrade_makes_one(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new.db"
    for command in ("current", "check"):
        done = commands.run(tmp_path, "db", command, "--database-url", url)
        assert (done.returncode, "there is no inbox at" in done.stderr) == (2, True)
    assert not list(tmp_path.iterdir())

    assert commands.run(tmp_path, "db", "upgrade", "--database-url", url).returncode == 0
    assert (tmp_path / "new.db").exists()
