"""`morag-client webhook-url`, and what is received by what it prints."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import commands
import deliveries
import pytest
import receiving
import servers

HERE = "https://app.example.com/morag"
BOTH = {"MORAG_SIGNING_KEY": "key", "MORAG_PUBLIC_URL": HERE}


def run(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return commands.run(folder, "webhook-url", *arguments, secret=None, COLUMNS="200", **variables)


def test_what_it_prints_is_believed_by_a_receiver_of_the_same_key(tmp_path: Path) -> None:
    done = run(tmp_path, "tenant=acme", "document=a=b", "max_size=1", **BOTH)
    assert (done.returncode, done.stderr) == (0, "")
    url = done.stdout.removesuffix("\n")
    assert url.startswith(f"{HERE}/webhook/morag-w1.")

    receiver = receiving.receiver_of(tmp_path, secrets=None, signing_key="new,key")
    with servers.serving(receiver) as address:
        target = url.removeprefix(HERE).encode()
        assert servers.exchange(address, servers.request_bytes(deliveries.task_body(), target=target)).status == 200

    [(stored,)] = receiving.query(tmp_path, "SELECT correlation FROM webhook_events")
    assert json.loads(stored).items() >= {"tenant": "acme", "document": "a=b", "max_size": "1"}.items()


def test_for_machines_it_says_what_was_signed(tmp_path: Path) -> None:
    done = run(tmp_path, "document=7", "--max-age", "2h", "--json", "--public-url", "https://b.example.com/", **BOTH)

    said = json.loads(done.stdout)
    assert said["url"].startswith("https://b.example.com/webhook/")
    assert (said["correlation"]["document"], len(said["correlation"]["ref"])) == ("7", 24)
    left = datetime.fromisoformat(said["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=119) < left < timedelta(minutes=121)
    assert json.loads(run(tmp_path, "--json", **BOTH).stdout)["expires_at"] is None


@pytest.mark.parametrize(
    ("arguments", "variables", "says"),
    [
        ([], {}, "MORAG_SIGNING_KEY"),
        ([], {"MORAG_SIGNING_KEY": "key"}, "MORAG_PUBLIC_URL"),
        (
            [],
            {"MORAG_SIGNING_KEY": "key,", "MORAG_PUBLIC_URL": HERE},
            "MORAG_SIGNING_KEY): is empty or has a blank part",
        ),
        ([], {**BOTH, "MORAG_PUBLIC_URL": "http://app.example.com"}, "not https"),
        (["ref=mine"], BOTH, "ref is generated"),
        (["max_age=5"], BOTH, "max_age says how long"),
        (["a"], BOTH, "'a' is no KEY=VALUE"),
        (["=a"], BOTH, "'=a' is no KEY=VALUE"),
        (["a="], BOTH, "1 to 255"),
        (["a=1", "a=2"], BOTH, "'a' is given twice"),
        (["a=1", "--max-age", "soon"], BOTH, "no age"),
        (["a=1", "--max-age", "0h"], BOTH, "max_age"),
    ],
)
def test_what_cannot_be_signed_is_bad_usage_and_says_what_to_do(
    tmp_path: Path, arguments: list[str], variables: dict[str, str], says: str
) -> None:
    done = run(tmp_path, *arguments, **variables)

    assert (done.returncode, done.stdout) == (2, "")
    assert says in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_url_that_morag_refuses_is_printed_with_a_warning(tmp_path: Path) -> None:
    done = run(tmp_path, MORAG_SIGNING_KEY="key", MORAG_PUBLIC_URL="http://127.0.0.1:8001")

    assert (done.returncode, done.stdout.count("\n"), done.stderr.count("\n")) == (0, 1, 1)
    assert done.stderr.startswith("warning: public_url leads to 127.0.0.1")


def test_the_environment_alone_makes_a_receiver_of_signed_urls(tmp_path: Path) -> None:
    with commands.served(tmp_path, "--database-url", "sqlite:///inbox.db", secret=None, **BOTH) as server:
        target = run(tmp_path, "tenant=acme", **BOTH).stdout.strip().removeprefix(HERE).encode()
        assert servers.exchange(server.url, servers.request_bytes(deliveries.task_body(), target=target)).status == 200
        assert servers.exchange(server.url, servers.request_bytes(deliveries.task_body())).status == 401
        assert server.stop() == 0

    listed = [
        commands.run(tmp_path, "events", "--json", "--correlation", wanted, "--database-url", "sqlite:///inbox.db")
        for wanted in ("tenant=acme", "tenant=globex")
    ]
    assert [done.stdout.count("\n") for done in listed] == [1, 0]
    assert json.loads(listed[0].stdout)["correlation"]["tenant"] == "acme"
