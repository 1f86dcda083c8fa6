"""`morag-client audit`, and the times that every command tells to machines and to people."""

from __future__ import annotations

import json
import re
from pathlib import Path

import commands
import databases
import deliveries
import inboxes
import pytest
from workers import run, settled


@pytest.fixture
async def acted_on(database: databases.TestDatabase) -> databases.TestDatabase:
    """Three records, one dead letter, one in quarantine."""
    async with inboxes.opened(database.url) as inbox:
        for task in ("a", "b", "c"):
            await inboxes.record(inbox, deliveries.task_body(task))
        await inboxes.quarantine(inbox, b"{", "it is no JSON")
        await settled(inbox, 1, "as_runs", run("index", "failed"), run("mail", "retrying", delay=60.0))
        await settled(inbox, 2, "handled", run("index"))
    return database


def test_what_people_did_is_listed_newest_first(acted_on: databases.TestDatabase, tmp_path: Path) -> None:
    def tell(*arguments: str) -> str:
        done = commands.run(tmp_path, *arguments, "--database-url", acted_on.url, COLUMNS="150")
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert tell("audit", "--json") == ""
    tell("replay", "--name", "task", "--state", "handled", "--since", "2h", "--why", "a new index", "--yes")
    tell("dead-letters", "discard", "1", "--yes")

    discarded, replayed = map(json.loads, tell("audit", "--json").splitlines())
    assert (discarded["action"], discarded["criteria"], discarded["affected"]) == (
        "dead-letters discard",
        {"ids": [1]},
        1,
    )
    assert (replayed["action"], replayed["why"], replayed["affected"]) == ("replay", "a new index", 1)
    assert replayed["criteria"].items() >= {"name": "task", "state": "handled"}.items()
    assert replayed["at"].endswith("Z")
    assert replayed["criteria"]["since"].endswith("Z")
    shown = " ".join(tell("audit").split())
    assert "a new index" in shown
    assert "state: handled" in shown
    assert "ids: [1]" in shown
    assert len(tell("audit", "--limit", "1", "--json").splitlines()) == 1


def test_every_time_for_machines_has_one_form(acted_on: databases.TestDatabase, tmp_path: Path) -> None:
    acted_on.execute("UPDATE webhook_tasks SET started_at = '2026-01-15 12:00:00', updated_at = '2026-01-15 12:00:01'")
    commands.run(tmp_path, "replay", "2", "--database-url", acted_on.url)
    for arguments in (
        ["events"],
        ["tasks"],
        ["tasks", "a"],
        ["stats"],
        ["dead-letters", "list"],
        ["dead-letters", "show", "1"],
        ["quarantine", "list"],
        ["quarantine", "show", "1"],
        ["audit"],
    ):
        done = commands.run(tmp_path, *arguments, "--json", "--database-url", acted_on.url)
        assert done.returncode == 0, done.stderr
        ours = re.sub(r'"payload": .*', "", done.stdout)  # which is as it was sent
        times = re.findall(r'"\d{4}-\d\d-\d\dT[^"]*"', ours)
        assert times or arguments == ["stats"], arguments
        assert [time for time in times if not re.fullmatch(r'"[-\d]{10}T[:\d]{8}(\.\d{6})?Z"', time)] == []


def test_a_time_for_people_has_its_year_where_it_is_not_this_one(
    acted_on: databases.TestDatabase, tmp_path: Path
) -> None:
    acted_on.execute("UPDATE webhook_events SET received_at = '2021-06-15 12:00:00' WHERE id = 1")

    shown = commands.run(tmp_path, "events", "--database-url", acted_on.url, COLUMNS="150").stdout

    assert "2021-06-15 " in shown
    # two of three came today
    assert len(re.findall(r"(?<![-\d])\d\d-\d\d \d\d:\d\d:\d\d", shown)) == 2
