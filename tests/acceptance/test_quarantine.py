"""`morag-client quarantine` beside a real receiver: looked at, taken again after an upgrade, given up."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import commands
import databases
import deliveries
import inboxes
import pytest
import receiving
import servers

from morag_client import Receiver, Registry
from morag_client.errors import ConfigurationError, DeliveryRejected, InvalidPayload, RecordNotFound
from morag_client.inbox.rows import quarantine_row
from morag_client.receiver.quarantine import Retaken

MODULE = """
from morag_client import Event, Receiver, on

@on("*", name="notify")
def notify(event: Event) -> None:
    with open("notified.txt", "a") as file:
        file.write(f"{event.name} {event.task_id}\\n")

receiver = Receiver()
"""
WRONG = b'{"event_type": "task_started", "task_id": "\\u001b]0;x\\u0007"}'
CANARY = "s3cret-canary"


class Cli:
    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._url = url

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = commands.run(self._folder, "quarantine", *arguments, "--database-url", self._url, COLUMNS="100")
        assert "Traceback" not in done.stderr
        return done

    def json(self, *arguments: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self(*arguments, "--json").stdout.splitlines()]


@pytest.fixture
def cli(tmp_path: Path, database: databases.TestDatabase) -> Cli:
    return Cli(tmp_path, database.url)


async def put(url: str, *bodies: bytes) -> None:
    """Deliveries that an earlier release did not understand, whatever this one thinks of them."""
    async with inboxes.opened(url) as inbox:
        for body in bodies:
            await inbox.quarantine(inboxes.arrival(body), DeliveryRejected("it was not understood"))


def test_what_is_refused_is_listed_shown_and_discarded(
    tmp_path: Path, database: databases.TestDatabase, cli: Cli
) -> None:
    with commands.served(tmp_path, "--database-url", database.url) as served:
        statuses = []
        for body in (WRONG, WRONG, b"\x1b\xff"):
            request = servers.request_bytes(
                body, servers.signed(body), b"User-Agent: MoRAG", b"Authorization: Bearer " + CANARY.encode()
            )
            statuses.append(servers.exchange(served.url, request).status)
        listed = cli.json("list")
        second = str(listed[0].pop("id"))
        shown, raw = cli("show", "1"), cli("show", "1", "--raw")

        assert cli("discard", "1", "--why", "a test").stdout == "discarded 1 delivery\n"
        assert served.stop() == 0

    assert statuses == [422, 422, 400]
    assert [(one["status"], one["code"], one["repeats"], one["size"]) for one in listed] == [
        (400, "malformed_body", 0, 2),
        (422, "invalid_payload", 1, len(WRONG)),
    ]
    assert "body" not in listed[0]
    for word in ("422 invalid_payload", "again 1 time", "user-agent: MoRAG", *listed[1]["problems"], WRONG.decode()):
        assert word in shown.stdout
    assert raw.stdout.encode() == WRONG
    assert CANARY not in shown.stdout + json.dumps(cli.json("show", second))
    assert [str(one["id"]) for one in cli.json("list")] == [second]
    assert "422" not in cli("list").stdout
    assert cli.json("show", second)[0]["body_base64"] == base64.b64encode(b"\x1b\xff").decode()
    assert "\x1b" not in cli("show", second).stdout
    [(action, why, affected)] = database.query("SELECT action, why, affected FROM webhook_audit")
    assert (action, why, affected) == ("quarantine discard", "a test", 1)


async def test_after_an_upgrade_a_running_receiver_handles_what_is_retried(
    tmp_path: Path, database: databases.TestDatabase, cli: Cli
) -> None:
    body = deliveries.step_body("late")
    await put(database.url, body, WRONG)
    (tmp_path / "app.py").write_text(MODULE)
    with commands.served(tmp_path, "app:receiver", "--database-url", database.url) as served:
        assert servers.exchange(served.url, servers.request_bytes(b"{}", servers.signed(b"{}"))).status == 200

        done = cli("retry", "--all", "--yes")

        notified = tmp_path / "notified.txt"
        receiving.eventually(lambda: notified.exists() and "chunking.completed late" in notified.read_text())
        # and when it is sent once more
        again = servers.exchange(served.url, servers.request_bytes(body, servers.signed(body)))
        assert again.json["status"] == "duplicate"
        assert served.stop() == 0
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines() == [
        "1 delivery is a record now",
        "1 still is not understood and stays: morag-client quarantine list",
    ]
    [left] = cli.json("list")
    assert (left["id"], left["status"]) == (2, 422)
    assert left["problems"] != ["it was not understood"]
    assert notified.read_text().count("late") == 1


async def test_nothing_runs_where_a_retry_is_asked_for_and_it_waits(database: databases.TestDatabase, cli: Cli) -> None:
    await put(database.url, deliveries.task_body("a"), deliveries.task_body("b"), deliveries.task_body("c"))

    done = cli("retry", "1", "99", "3")

    assert (done.returncode, done.stdout) == (1, "2 deliveries are records now\n")
    assert done.stderr == "error: there is no delivery 99 in quarantine\n"
    assert database.query("SELECT task_id, state FROM webhook_events ORDER BY id") == [("a", "stored"), ("c", "stored")]
    assert cli.json("retry", "2") == [{"accepted": 1, "known": 0, "refused": 0}]
    assert cli("retry", "--all", "--yes").returncode == 0


async def test_a_retry_that_is_killed_at_any_moment_loses_and_doubles_nothing(
    tmp_path: Path, database: databases.TestDatabase, cli: Cli
) -> None:
    tasks = {f"task-{number}" for number in range(4_000)}
    async with inboxes.opened(database.url) as inbox:
        arrivals = [inboxes.arrival(deliveries.task_body(task)) for task in sorted(tasks)]
        rows = [quarantine_row(one, status=400, code="x", problems=["x"])._asdict() for one in arrivals]
        await inbox.database.write(
            lambda connection: connection.execute(inbox.database.tables.quarantine.insert(), rows)
        )

    records = [0]
    for _ in range(3):
        with commands.killed(tmp_path, "quarantine", "retry", "--all", "--yes", "--database-url", database.url) as runs:
            receiving.eventually(lambda: not runs() or counted(database)[0] > records[-1], seconds=20)
        stored, waiting = counted(database)
        records.append(stored)
        assert stored + waiting >= 4_000
    done = cli("retry", "--all", "--yes")

    assert 0 < records[1] < 4_000
    assert done.returncode == 0
    assert {task for (task,) in database.query("SELECT task_id FROM webhook_events")} == tasks
    assert counted(database) == (4_000, 0)


def counted(database: databases.TestDatabase) -> tuple[int, int]:
    """How many records there are, and how many quarantined deliveries, at one moment."""
    [both] = database.query("SELECT (SELECT count(*) FROM webhook_events), (SELECT count(*) FROM webhook_quarantine)")
    return both


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["retry"], "ID..., or --all"),
        (["discard"], "ID..., or --all"),
        (["discard", "1", "--all"], "ID..., or --all"),
        (["discard", "--all"], "--yes"),
        (["retry", "--all"], "--yes"),
        (["list", "--limit", "0"], "--limit"),
        (["show", "first"], "valid integer"),
    ],
)
async def test_bad_usage_is_exit_code_two_and_changes_nothing(tmp_path: Path, arguments: list[str], says: str) -> None:
    url = receiving.url_of(tmp_path)
    await put(url, deliveries.task_body())

    done = Cli(tmp_path, url)(*arguments)

    assert done.returncode == 2
    assert says in done.stderr
    assert receiving.counts(tmp_path) == (0, 1)


async def test_what_is_long_or_unprintable_is_shown_within_bounds(tmp_path: Path) -> None:
    url = receiving.url_of(tmp_path)
    body = b"\x1b]0;title\x07" + b"x" * 100_000
    async with inboxes.opened(url) as inbox:
        problems = [f"\x1b[31m{number}" + "y" * 50_000 for number in range(3)]
        await inbox.quarantine(inboxes.arrival(body), DeliveryRejected(*problems))
    cli = Cli(tmp_path, url)

    listed, shown = cli("list"), cli("show", "1")

    assert not {"\x1b", "\x07"} & set(listed.stdout + shown.stdout)
    assert "(and 2 more)" in " ".join(listed.stdout.split())
    assert len(listed.stdout) < 2_000
    assert "quarantine show 1 --raw" in shown.stdout
    assert len(shown.stdout) < 20_000
    assert cli("show", "1", "--raw").stdout.encode() == body
    assert cli("show", "2").returncode == 1


async def test_a_receiver_takes_again_what_it_understands_and_handles_it(tmp_path: Path) -> None:
    await put(receiving.url_of(tmp_path), deliveries.task_body("a"), b"[]", deliveries.task_body("c"))
    handled: list[str | None] = []
    registry = Registry()
    registry.on("*", name="note")(lambda event: handled.append(event.task_id))

    async with receiving.working(tmp_path, registry) as receiver:
        assert [one.id for one in await receiver.quarantine.list()] == [3, 2, 1]
        assert await receiver.quarantine.retry(1) == Retaken(accepted=1)
        assert await receiver.quarantine.retry(everything=True) == Retaken(accepted=1, refused=1)
        await receiver.idle()
        assert handled == ["a", "c"]
        assert (await receiver.quarantine.get(2)).body == b"[]"
        for wrong in ({"ids": ()}, {"ids": (2,), "everything": True}):
            with pytest.raises(ConfigurationError, match="which deliveries"):
                await receiver.quarantine.discard(*wrong.pop("ids"), **wrong)
        for act in (receiver.quarantine.retry, receiver.quarantine.discard):
            with pytest.raises(RecordNotFound, match="99"):
                await act(2, 99)
        assert await receiver.quarantine.discard(2) == 1
    assert receiving.counts(tmp_path) == (2, 0)


async def test_a_retry_asks_for_no_credentials_and_keeps_the_tenant(tmp_path: Path) -> None:
    async with inboxes.opened(receiving.url_of(tmp_path)) as inbox:
        arrival = inboxes.arrival(deliveries.task_body("a"), tenant="acme")
        await inbox.quarantine(arrival, DeliveryRejected("it was not understood"))
    receiver = Receiver(registry=Registry(), secrets=lambda delivery: None, database_url=receiving.url_of(tmp_path))

    async with receiver.lifespan():
        assert await receiver.quarantine.retry(1) == Retaken(accepted=1)
        assert (await receiver.events.get(1)).tenant == "acme"


async def test_a_full_quarantine_answers_as_ever_and_keeps_nothing_more(tmp_path: Path) -> None:
    async with receiving.working(tmp_path, quarantine_limit=2) as receiver:
        for number in range(5):
            with pytest.raises(InvalidPayload):
                await receiver.receive(deliveries.delivery(b'{"event_type": "task_started", "n": %d}' % number))
        assert await receiver.quarantine.turned_away() == 3
        assert len(await receiver.quarantine.list()) == 2
        await receiving.send(receiver, deliveries.task_body())

    assert receiving.counts(tmp_path) == (1, 2)
