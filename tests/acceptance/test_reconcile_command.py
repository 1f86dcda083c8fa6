"""`morag-client reconcile`: what it says, what it leaves alone, and its exit codes."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import commands
import deliveries
import inboxes
import pytest
import receiving
from mocking import Asked, asked


def filled(folder: Path, *task_ids: str) -> None:
    """An inbox in which these tasks have started and nothing came since."""

    async def fill() -> None:
        async with inboxes.opened(receiving.url_of(folder)) as inbox:
            for task_id in task_ids:
                await inboxes.record(inbox, deliveries.task_body(task_id, "started"))

    asyncio.run(fill())


def reconcile(folder: Path, address: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    given = {"MORAG_API_URL": address, "MORAG_API_KEY": "test-api-key", "MORAG_DATABASE_URL": receiving.url_of(folder)}
    return commands.run(folder, "reconcile", *arguments, secret=None, **given)


def ingested(morag: Asked, **upload: Any) -> str:
    return morag.wait(morag.upload("/api/v1/ingest/file", request_data={}, **upload).json()["task_id"])


def stored(folder: Path) -> list[tuple[Any, ...]]:
    return receiving.query(folder, "SELECT task_id, name FROM webhook_events WHERE source = 'reconcile' ORDER BY id")


def test_a_dry_run_says_what_would_be_made_and_the_run_makes_it_once(tmp_path: Path) -> None:
    with asked(profile="r2") as morag:
        known, unheard = ingested(morag), ingested(morag)
        filled(tmp_path, known, "gone")

        dry = reconcile(tmp_path, morag.mock.url, "--dry-run")
        assert stored(tmp_path) == []
        run = reconcile(tmp_path, morag.mock.url, "--why", "the network was down")
        again = reconcile(tmp_path, morag.mock.url, "--json")

    assert (dry.returncode, run.returncode, again.returncode) == (0, 0, 0)
    assert dry.stdout.splitlines() == [
        "asked about 3 tasks",
        "2 task.completed would be made",
        "1 task of these, of which no webhook had told",
        "1 task that MoRAG says nothing of",
    ]
    assert "2 task.completed made" in run.stdout
    assert sorted(stored(tmp_path)) == sorted([(known, "task.completed"), (unheard, "task.completed")])
    assert json.loads(again.stdout)["made"] == {}
    [(action, why, affected)] = receiving.query(tmp_path, "SELECT action, why, affected FROM webhook_audit")
    assert (action, why, affected) == ("reconcile", "the network was down", 2)


def test_known_only_leaves_other_peoples_tasks_alone(tmp_path: Path) -> None:
    with asked(profile="r1") as morag:
        ingested(morag)
        filled(tmp_path, known := ingested(morag))

        assert reconcile(tmp_path, morag.mock.url, "--known-only").returncode == 0

    assert stored(tmp_path) == [(known, "task.completed")]


def test_since_and_silent_say_which_tasks_are_meant(tmp_path: Path) -> None:
    with asked(profile="r1") as morag:
        filled(tmp_path, ingested(morag))

        silent = reconcile(tmp_path, morag.mock.url, "--known-only", "--silent", "1h", "--json")
        heard = reconcile(tmp_path, morag.mock.url, "--known-only", "--since", "1h", "--json")

    assert [json.loads(one.stdout)["asked"] for one in (silent, heard)] == [0, 1]


def test_a_failure_is_made_with_its_error(tmp_path: Path) -> None:
    with asked(profile="r2") as morag:
        task_id = ingested(morag, name="broken.pdf", content=b"%PDF-1.4 no more")
        filled(tmp_path, task_id)
        reconcile(tmp_path, morag.mock.url)

    found = receiving.query(tmp_path, "SELECT error_message FROM webhook_events WHERE name = 'task.failed'")
    assert found[0][0]


@pytest.mark.parametrize("as_json", [False, True])
def test_a_morag_that_is_away_is_exit_code_1(tmp_path: Path, as_json: bool) -> None:
    filled(tmp_path, "one", "two")

    result = reconcile(tmp_path, "http://127.0.0.1:9", *(["--json"] if as_json else []))

    assert result.returncode == 1
    if as_json:
        report = json.loads(result.stdout)
        assert (report["asked"], report["left"], len(report["errors"])) == (0, 2, 1)
    else:
        assert result.stderr.count("could not be reached") == 1
        assert "2 tasks not asked" in result.stdout
    assert "Traceback" not in result.stderr


def test_without_a_morag_or_an_inbox_it_is_bad_usage(tmp_path: Path) -> None:
    nowhere = commands.run(tmp_path, "reconcile", secret=None)
    no_inbox = reconcile(tmp_path, "http://127.0.0.1:9")
    nonsense = reconcile(tmp_path, "nonsense")

    assert [one.returncode for one in (nowhere, no_inbox, nonsense)] == [2, 2, 2]
    assert "MORAG_API_URL" in nowhere.stderr
    assert "there is no inbox" in no_inbox.stderr


def test_a_wrong_key_is_said(tmp_path: Path) -> None:
    filled(tmp_path, "one")
    with asked(profile="r1", api_key="another-key") as morag:
        result = reconcile(tmp_path, morag.mock.url)

    assert result.returncode == 1
    assert "401" in result.stderr
    assert "test-api-key" not in result.stdout + result.stderr
