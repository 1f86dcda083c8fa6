"""Many tasks at once: in Python, and `morag-client emit --tasks` as a process against a real receiver."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import signal
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import commands
import deliveries
import pytest
import receiving
from recording import Recorder, names

from morag_client.errors import ConfigurationError
from morag_client.testing import DeliveryResult, Emitter, FaultPlan, LoadReport, ThreadedServer, faults
from morag_client.testing.load.report import Latency


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[str]:
    with ThreadedServer(receiving.receiver_of(tmp_path)) as server:
        yield f"{server.url}/webhook"


def emit(folder: Path, url: str, *arguments: str, secret: str = deliveries.SECRET) -> subprocess.CompletedProcess[str]:
    return commands.run(folder, "emit", "--url", url, *arguments, secret=secret)


def by_task(recorder: Recorder) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for payload in recorder.payloads:
        found[payload.get("task_id") or payload["data"]["task_id"]].append(payload)
    return found


def test_every_task_is_one_of_its_own_and_in_order() -> None:
    with Recorder() as recorder, Emitter(webhook_url=recorder.url) as emitter:
        report = emitter.run_load(tasks=6, concurrency=3)

    tasks = by_task(recorder)
    assert len(tasks) == 6
    in_order = names(next(iter(tasks.values())))
    assert in_order[0] == "task_started"
    assert all(names(payloads) == in_order for payloads in tasks.values())
    for task, payloads in tasks.items():
        assert f"/{task}/" in payloads[2]["data"]["markdown_file_url"]
    assert (report.tasks, report.deliveries, report.accepted, report.ok) == (6, 84, 84, True)
    assert report.statuses == {200: 84}


def test_what_the_end_of_a_task_tells_of_its_stages_is_its_own() -> None:
    with Recorder() as recorder, Emitter(webhook_url=recorder.url, dialect="pipeline_completed") as emitter:
        emitter.run_load(tasks=3)

    for payload in recorder.payloads:
        context = payload["context"]
        assert all(path.startswith(f"{context['output_dir']}/") for path in context["intermediate_files"])
        assert all(stage["output_files"][0].startswith(context["output_dir"]) for stage in payload["stages"])
    assert len({payload["context"]["output_dir"] for payload in recorder.payloads}) == 3


def test_no_more_tasks_at_a_time_than_was_said() -> None:
    under_way, most, lock = 0, 0, threading.Lock()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal under_way, most
        if scope["type"] != "http":
            raise NotImplementedError
        with lock:
            under_way += 1
            most = max(most, under_way)
        await asyncio.sleep(0.01)
        under_way -= 1
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    with ThreadedServer(app) as server, Emitter(webhook_url=server.url, dialect="envelope") as emitter:
        emitter.run_load(tasks=20, concurrency=4)

    assert most == 4


def test_at_most_so_many_a_second() -> None:
    with Recorder() as recorder, Emitter(webhook_url=recorder.url, dialect="envelope") as emitter:
        began = time.monotonic()
        emitter.run_load(tasks=10, rate=50)

    assert time.monotonic() - began >= 19 / 50
    assert len(recorder.arrivals) == 20


def test_refusals_errors_and_retries_are_counted() -> None:
    given = {"dialect": "ingest_result", "max_retries": 0}
    with Recorder(500, 503, 200, 401, 200) as recorder, Emitter(webhook_url=recorder.url, **given) as emitter:
        refused = emitter.run_load(tasks=5, concurrency=1)
    with Emitter(webhook_url=recorder.url, dialect="ingest_result", max_retries=1, retry_delay=0.0) as emitter:
        nobody = emitter.run_load(tasks=2)

    assert (refused.accepted, refused.refused, refused.errors, refused.retries) == (2, 3, 0, 0)
    assert refused.statuses == {500: 1, 503: 1, 200: 2, 401: 1}
    assert not refused.ok
    assert (nobody.accepted, nobody.refused, nobody.errors, nobody.retries) == (0, 0, 2, 2)
    assert nobody.reasons == {"connection refused": 4}
    assert nobody.latency is None


def test_faults_strike_each_task_of_a_load_in_its_own_way(tmp_path: Path, receiver: str) -> None:
    plan = FaultPlan(faults.duplicate(share=0.3, concurrently=True), faults.reset(share=0.2), faults.reorder(), seed=2)
    counted = []
    for _ in range(2):
        with Emitter(webhook_url=receiver, secret=deliveries.SECRET, retry_delay=0.01) as emitter:
            report = emitter.run_load(tasks=20, concurrency=5, faults=plan)
        counted.append((report.deliveries, report.retries))

    assert report.ok
    assert counted[0] == counted[1]
    assert counted[0][0] > 20 * 14
    assert counted[0][1] > 0
    assert receiving.counts(tmp_path) == (2 * 20 * 14, 0)


def test_what_a_callback_raises_ends_the_load() -> None:
    class Enough(Exception):
        pass

    def tell(result: DeliveryResult) -> None:
        raise Enough

    report = LoadReport()
    with Recorder() as recorder, Emitter(webhook_url=recorder.url, on_delivery=tell) as emitter, pytest.raises(Enough):
        emitter.run_load(tasks=1000, concurrency=4, report=report)

    assert report.deliveries < 20
    assert report.seconds < 5


@pytest.mark.parametrize("wrong", [{"tasks": 0}, {"tasks": 1, "concurrency": 0}, {"tasks": 1, "rate": 0.0}])
def test_numbers_that_cannot_be(wrong: dict[str, Any]) -> None:
    with Emitter(webhook_url="http://127.0.0.1:9/") as emitter, pytest.raises(ConfigurationError, match="above 0"):
        emitter.run_load(**wrong)


def test_percentiles_are_of_what_was_answered() -> None:
    with Recorder() as recorder, Emitter(webhook_url=recorder.url, dialect="ingest_result") as emitter:
        (sent,) = emitter.run_pipeline()
    report = LoadReport(clock=iter([10.0, 14.0]).__next__)
    report.begin()
    for number in range(100, 0, -1):
        report.take(dataclasses.replace(sent, seconds=number / 100))
    report.take(dataclasses.replace(sent, ok=False, status_code=None, seconds=99.0, error="timed out"))
    report.end()

    assert report.latency == Latency(0.5, 0.9, 0.99, 1.0)
    assert report.rate == 101 / 4
    assert report.as_object()["latency"] == {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


def test_the_report_of_a_load(tmp_path: Path, receiver: str) -> None:
    done = emit(tmp_path, receiver, "--tasks", "30", "--concurrency", "8")

    assert done.returncode == 0
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0] == "tasks        30 of 30, 8 at a time"
    assert re.fullmatch(r"deliveries   420 in \d+\.\d\d s: [\d,]+ a second", lines[1])
    assert re.fullmatch(r"latency      p50 .* ms, p90 .* ms, p99 .* ms, max .* ms", lines[2])
    assert "answers      200: 420" in lines
    assert receiving.counts(tmp_path) == (420, 0)


def test_the_report_as_json(tmp_path: Path, receiver: str) -> None:
    chosen = ("--fault", "corrupt:resigned,events=chunking.completed", "--seed", "3", "--max-retries", "0")
    done = emit(tmp_path, receiver, "--tasks", "5", "--json", *chosen)

    report = json.loads(done.stdout)
    assert done.returncode == 1
    assert (report["tasks"], report["deliveries"], report["accepted"], report["refused"]) == (5, 70, 65, 5)
    assert report["statuses"] == {"200": 65, "400": 5}
    assert report["faults"] == "--fault corrupt:events=chunking.completed,resigned --seed 3"
    assert report["interrupted"] is False
    assert set(report["latency"]) == {"p50", "p90", "p99", "max"}
    assert f"faults: {report['faults']}" in done.stderr


def test_an_interrupt_gives_the_report_so_far() -> None:
    arrived = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})
        arrived.set()

    # A shell's background jobs ignore SIGINT, and so would what they start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with ThreadedServer(app) as server:
        process = subprocess.Popen(
            [commands.COMMAND, "emit", "--url", server.url, "--tasks", "100000", "--json"],
            env=commands.environment(secret=None),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            signal.signal(signal.SIGINT, before)
            assert arrived.wait(20)
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            said, complaints = process.communicate(timeout=20)
        finally:
            process.kill()

    report = json.loads(said)
    assert process.returncode == 130
    assert report["interrupted"] is True
    assert 0 < report["deliveries"] < 1_400_000
    assert complaints == "interrupted\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--tasks", "2", "--task-id", "t"), "--task-id is for one task alone"),
        (("--tasks", "0"), "--tasks"),
        (("--concurrency", "0"), "--concurrency"),
        (("--rate", "0"), "rate=0.0: it must be above 0"),
        (("--fault", "dupe"), "did you mean duplicate?"),
        (("--fault", "wrong-signature"), "give a secret"),
        (("--seed", "x"), "--seed"),
    ],
)
def test_bad_usage(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    done = commands.run(tmp_path, "emit", "--url", "http://127.0.0.1:9/", *arguments, secret=None)

    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_secret_ends_a_load_at_once(tmp_path: Path, receiver: str) -> None:
    done = emit(tmp_path, receiver, "--tasks", "500", secret="another")

    assert done.returncode == 1
    assert "is --secret" in done.stderr
    assert "again in" not in done.stderr
    assert receiving.counts(tmp_path) == (0, 0)


def test_nobody_there_ends_a_load_at_once(tmp_path: Path) -> None:
    done = emit(tmp_path, "http://127.0.0.1:9/webhook", "--tasks", "500", "--max-retries", "0")

    assert done.returncode == 1
    assert "task.started: connection refused" in done.stderr
    assert "is the receiver running?" in done.stderr


def test_faults_of_one_task_line_by_line(tmp_path: Path, receiver: str) -> None:
    done = emit(
        tmp_path,
        receiver,
        "--fault",
        "drop:events=*.started",
        "--fault",
        "duplicate:times=3,events=task",
        "--seed",
        "4",
    )

    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 6 + 3
    assert "faults: --fault 'drop:events=*.started' --fault duplicate:events=task,times=3 --seed 4" in done.stderr
    assert "9 of 9 deliveries accepted" in done.stderr
    assert receiving.counts(tmp_path) == (7, 0)


def test_a_first_delivery_that_was_broken_on_purpose_ends_nothing(tmp_path: Path, receiver: str) -> None:
    done = emit(tmp_path, receiver, "--fault", "truncate:events=task.started", "--max-retries", "0")

    assert done.returncode == 1
    assert "13 of 14" in done.stderr
    assert "is the receiver running?" not in done.stderr
