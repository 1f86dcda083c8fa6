"""Events passed on to other services: over real sockets, by handlers like any other."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import deliveries
import others
import pytest
import receiving
import servers
from others import Reply, Service

from morag_client import (
    ChunkingCompleted,
    ConfigurationError,
    Context,
    Event,
    Receiver,
    Registry,
    RetryPolicy,
    UnknownEventWarning,
    default_registry,
    parse_event,
    verify_signature,
)

AT_ONCE = RetryPolicy(attempts=3, first=0, cap=0)
SECRET = "the secret between us"


async def settled(receiver: Receiver, record_id: int, *states: str, seconds: float = 10.0) -> list[Any]:
    """The record's runs, once they are all in one of these states."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        runs = (await receiver.events.get(record_id)).runs
        if runs and all(run.state in states for run in runs):
            return list(runs)
        assert asyncio.get_running_loop().time() < deadline, runs
        await asyncio.sleep(0.02)


async def passed_on(folder: Path, service: Service, *bodies: bytes, url: str = "", **options: Any) -> list[Any]:
    """The runs of the handler that passes these on, with what its receiver is called with."""
    with others.running(service) as there:
        receiver = receiving.receiver_of(folder)
        given = {"retry": AT_ONCE, "allow_private": "127.0.0.1", **options}
        receiver.forward("*", to=there + url, **given)
        async with receiver.lifespan():
            records = await receiving.send(receiver, *bodies)
            runs = [await settled(receiver, record, "succeeded", "failed", "discarded") for record in records]
            return [run for one in runs for run in one]


async def test_an_event_is_posted_once_in_the_words_of_the_guide_and_signed(tmp_path: Path) -> None:
    service = Service()
    body = deliveries.step_body(step="chunking", status="failed", error_message="no text")

    with others.running(service) as url:
        receiver = receiving.receiver_of(tmp_path)
        receiver.forward("*.failed", to=f"{url}/morag?key=v", secret=SECRET, allow_private=["127.0.0.1"])
        async with receiver.lifespan():
            # when it comes twice, with another that nobody asked for
            await receiving.send(receiver, body, body, deliveries.step_body(status="started"))
            await receiver.idle()

    (posted,) = service.posted
    assert posted.path == "/morag?key=v"
    verify_signature(posted.body, posted.headers["x-morag-signature"], SECRET)
    assert posted.headers["content-type"] == "application/json"
    event = parse_event(posted.body)
    assert (event.name, event.task_id, event.error, event.dialect) == (
        "chunking.failed",
        "task-1",
        "no text",
        "enveloped_step",
    )


async def test_what_fails_is_posted_again_under_the_same_id(tmp_path: Path) -> None:
    service = Service(Reply(503), Reply(500), Reply(200))

    (run,) = await passed_on(tmp_path, service, deliveries.task_body())

    assert (run.state, run.attempts) == ("succeeded", 3)
    ids = {posted.headers["x-morag-delivery-id"] for posted in service.posted}
    assert len(service.posted) == 3
    assert len(ids) == 1


@pytest.mark.parametrize("form", ["morag", "slack"])
async def test_an_attempt_repeats_the_bytes_of_the_one_before(tmp_path: Path, form: str) -> None:
    # given an event that does not say when it happened, so that the time of its receipt is told
    body = b'{"task_id": "t", "status": "SUCCESS", "completed_at": "2024-01-01T12:05:30", "result": null}'
    service = Service(Reply(503), Reply(200))

    await passed_on(tmp_path, service, body, format=form)

    assert len(service.posted) == 2
    assert len({posted.body for posted in service.posted}) == 1


async def test_another_receiver_takes_it_and_knows_what_comes_twice(tmp_path: Path) -> None:
    handled: list[tuple[str, str | None]] = []
    registry = Registry()
    registry.on("*", name="there")(lambda event: handled.append((event.name, event.task_id)))
    (tmp_path / "there").mkdir()
    there = receiving.receiver_of(tmp_path / "there", registry, secrets=SECRET)
    bodies = [deliveries.task_body(), deliveries.step_body(status="failed"), deliveries.unknown_body()]
    with servers.serving(there) as url:
        here = receiving.receiver_of(tmp_path)
        here.forward("*", to=f"{url}/webhook", secret=SECRET, allow_private="127.0.0.1")
        async with here.lifespan():
            records = await receiving.send(here, *bodies)
            await here.idle()
            # when all of it is passed on once more
            await here.replay(*records)
            await here.idle()

    assert sorted(handled, key=str) == [("chunking.failed", "task-1"), ("task.started", "task-1"), ("unknown", None)]


async def test_another_handler_and_another_record_have_other_ids(tmp_path: Path) -> None:
    service = Service()
    with others.running(service) as url:
        receiver = receiving.receiver_of(tmp_path)
        for name in ("one", "two"):
            receiver.forward("*", to=url, name=name, allow_private="127.0.0.1")
        async with receiver.lifespan():
            await receiving.send(receiver, deliveries.task_body(), deliveries.task_body())
            await receiver.idle()

    assert len({posted.headers["x-morag-delivery-id"] for posted in service.posted}) == 4


async def test_a_restart_goes_on_where_it_was_and_under_the_same_id(tmp_path: Path) -> None:
    # given a service that is away, and a receiver that is stopped meanwhile
    service = Service(Reply(503), Reply(200))
    with others.running(service) as url:
        for _ in range(2):
            receiver = receiving.receiver_of(tmp_path)
            receiver.forward("*", to=url, retry=RetryPolicy(attempts=5, first=0.5, cap=0.5), allow_private="127.0.0.1")
            async with receiver.lifespan():
                if not service.posted:
                    (record,) = await receiving.send(receiver, deliveries.task_body())
                    await settled(receiver, record, "retrying")
                else:
                    await settled(receiver, record, "succeeded")

    assert len(service.posted) == 2
    assert len({posted.headers["x-morag-delivery-id"] for posted in service.posted}) == 1


async def test_what_is_refused_is_a_dead_letter_at_once_and_can_be_retried(tmp_path: Path) -> None:
    service = Service(Reply(404, b'{"message": "no such hook"}'), Reply(200))
    with others.running(service) as url:
        receiver = receiving.receiver_of(tmp_path)
        name = receiver.forward("*", to=url, retry=AT_ONCE, allow_private="127.0.0.1")
        async with receiver.lifespan():
            (record,) = await receiving.send(receiver, deliveries.task_body())
            (run,) = await settled(receiver, record, "failed")
            (letter,) = await receiver.dead_letters.list(handler=name)
            assert (run.attempts, len(service.posted)) == (1, 1)
            assert letter.error.startswith("ForwardingRefused: 127.0.0.1:")
            assert letter.error.endswith('answered 404: {"message": "no such hook"}')
            # when somebody has repaired it
            await receiver.dead_letters.retry(letter.id)
            await settled(receiver, record, "succeeded")
            # and wants it posted once more
            await receiver.replay(record)
            await receiver.idle()

    assert len(service.posted) == 3


async def test_all_attempts_over_it_is_a_dead_letter_that_says_what_was_answered(tmp_path: Path) -> None:
    (run,) = await passed_on(tmp_path, Service(Reply(502, b"<h1>Bad gateway</h1>")), deliveries.task_body())

    assert (run.state, run.attempts) == ("failed", 3)
    assert "answered 502: <h1>Bad gateway</h1>" in run.error


async def test_it_waits_for_as_long_as_the_service_says(tmp_path: Path) -> None:
    moments: list[float] = []

    def answer(_: others.Posted) -> Reply:
        moments.append(time.monotonic())
        return Reply(429, headers={"retry-after": "2"}) if len(moments) == 1 else Reply(200)

    (run,) = await passed_on(tmp_path, Service(answer=answer), deliveries.task_body())

    assert (run.state, run.attempts) == ("succeeded", 2)
    assert moments[1] - moments[0] > 1.5


async def test_a_service_that_never_answers_costs_its_timeout_and_nobody_elses(tmp_path: Path) -> None:
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    registry, handled = Registry(), []
    registry.on("*", name="other")(lambda event: handled.append(event.name))
    async with others.talking(never) as port:
        receiver = receiving.receiver_of(tmp_path, registry)
        name = receiver.forward(
            "*", to=f"http://127.0.0.1:{port}/", timeout=0.3, retry=RetryPolicy(attempts=1), allow_private="127.0.0.1"
        )
        async with receiver.lifespan():
            (record,) = await receiving.send(receiver, deliveries.task_body())
            runs = {run.handler: run for run in await settled(receiver, record, "failed", "succeeded")}

    assert runs["other"].state == "succeeded"
    assert handled == ["task.started"]
    assert runs[name].state == "failed"
    assert "did not end within 0.3 s" in runs[name].error


async def test_a_public_name_that_leads_inside_is_a_dead_letter_and_nothing_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service()
    with others.running(service) as url:
        inside = ("127.0.0.1", int(url.rpartition(":")[2]))
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(socket.AF_INET, 1, 6, "", inside)])
        receiver = receiving.receiver_of(tmp_path)
        receiver.forward("*", to=f"https://hooks.example.test:{inside[1]}/x", retry=AT_ONCE)
        async with receiver.lifespan():
            (record,) = await receiving.send(receiver, deliveries.task_body())
            (run,) = await settled(receiver, record, "failed")

    assert "leads to 127.0.0.1, which is loopback: nothing was sent" in run.error
    assert service.posted == []


# Formats.


async def test_a_function_of_the_application_says_what_is_sent(tmp_path: Path) -> None:
    threads: list[str] = []

    def as_dict(event: Event) -> dict[str, Any]:
        threads.append(threading.current_thread().name)
        return {"what": event.name, "at": event.occurred_at}

    async def as_text(event: Event) -> str:
        threads.append(threading.current_thread().name)
        return f"{event.name} - {event.task_id}"

    def hands_on(event: Event) -> Awaitable[str]:
        return as_text(event)

    class AsBytes:
        async def __call__(self, event: Event) -> bytes:
            return event.name.encode()

    service = Service()
    formats = {"dict": as_dict, "text": as_text, "bytes": AsBytes(), "late": hands_on}
    with others.running(service) as url:
        receiver = receiving.receiver_of(tmp_path)
        for name, made in formats.items():
            receiver.forward("*", to=f"{url}/{name}", name=name, format=made, secret=SECRET, allow_private="127.0.0.1")
        receiver.forward("*", to=url, name="nothing", format=lambda event: None, allow_private="127.0.0.1")
        async with receiver.lifespan():
            (record,) = await receiving.send(receiver, deliveries.task_body())
            runs = await settled(receiver, record, "succeeded")

    posted = {one.path: one for one in service.posted}
    assert len(runs) == 5
    assert posted.keys() == {"/dict", "/text", "/bytes", "/late"}
    assert posted["/dict"].json == {"what": "task.started", "at": "2024-01-01T10:00:00Z"}
    assert posted["/text"].body == posted["/late"].body == b"task.started - task-1"
    assert posted["/bytes"].body == b"task.started"
    for one in service.posted:
        verify_signature(one.body, one.headers["x-morag-signature"], SECRET)
    # a plain function may block, and so it does not run in the event loop
    assert sum(name.startswith("morag-handler") for name in threads) == 1


async def test_a_function_that_fails_is_tried_again_as_any_handler(tmp_path: Path) -> None:
    calls: list[str] = []

    def fails_once(event: Event) -> dict[str, str]:
        calls.append(event.name)
        if len(calls) == 1:
            raise ValueError("not yet")
        return {}

    service = Service()
    (run,) = await passed_on(tmp_path, service, deliveries.task_body(), format=fails_once)

    assert (run.state, run.attempts, len(service.posted)) == ("succeeded", 2, 1)


async def test_headers_of_ones_own_are_sent_and_may_name_the_kind_of_text(tmp_path: Path) -> None:
    service = Service()
    headers = {"Authorization": "Bearer abc", "content-type": "text/csv", "User-Agent": "us"}
    await passed_on(tmp_path, service, deliveries.task_body(), headers=headers, format=lambda event: "a;b")

    (posted,) = service.posted
    assert {name: posted.headers[name.lower()] for name in headers} == headers
    assert "x-morag-signature" not in posted.headers


# What is registered, where, and under which name.


async def test_it_asks_for_events_as_on_does(tmp_path: Path) -> None:
    service = Service()
    bodies = [
        deliveries.task_body("a"),
        deliveries.task_body("b"),
        deliveries.step_body(step="chunking"),
        deliveries.step_body(step="ingestion"),
        deliveries.unknown_body(),
    ]
    with others.running(service) as url:
        receiver = receiving.receiver_of(tmp_path)
        given = {"to": url, "allow_private": "127.0.0.1"}
        receiver.forward(ChunkingCompleted, ["unknown"], name="1", **given)
        receiver.forward("task_started", name="2", where=lambda event: event.task_id == "b", **given)
        async with receiver.lifespan():
            await receiving.send(receiver, *bodies)
            await receiver.idle()

    names = sorted(parse_event(posted.body).name for posted in service.posted)
    assert names == ["chunking.completed", "task.started", "unknown"]


async def test_it_is_this_receivers_and_not_its_registrys(tmp_path: Path) -> None:
    # given two receivers with the same registry, and the default one
    registry, service, handled = Registry(), Service(), []
    before = len(default_registry.handlers)
    for folder in "ab":
        (tmp_path / folder).mkdir()
    with others.running(service) as url:
        one, other = (receiving.receiver_of(tmp_path / name, registry) for name in "ab")
        one.forward("*", to=url, allow_private="127.0.0.1")
        # a handler that the registry gets later is there, too
        registry.on("*", name="late")(lambda event: handled.append(event.name))
        for receiver in (one, other):
            async with receiver.lifespan():
                await receiving.send(receiver, deliveries.task_body())
                await receiver.idle()

    assert (len(service.posted), len(handled)) == (1, 2)
    assert (len(registry.handlers), len(default_registry.handlers)) == (1, before)
    assert (len(one.handler_names), other.handler_names) == (2, ["late"])
    assert one.handler_names[0] == "late"


def test_its_name_says_the_host_and_nothing_else_and_outlives_a_new_url(tmp_path: Path) -> None:
    names = set()
    for hook in ("T0/B0/first", "T0/B0/second"):
        receiver = receiving.receiver_of(tmp_path)
        names.add(receiver.forward("*.failed", to=f"https://hooks.slack.com/services/{hook}", format="slack"))
        assert receiver.handler_names == ["forward:hooks.slack.com"]

    assert names == {"forward:hooks.slack.com"}


def test_two_of_one_host_want_names(tmp_path: Path) -> None:
    receiver = receiving.receiver_of(tmp_path)
    receiver.forward("*", to="https://hooks.example.com/a")
    with pytest.raises(ConfigurationError, match=r"forward\(…, name=…\)"):
        receiver.forward("task", to="https://hooks.example.com/b")
    assert receiver.forward("task", to="https://hooks.example.com/b", name="tasks") == "tasks"
    assert receiver.handler_names == ["forward:hooks.example.com", "tasks"]


async def test_it_has_to_be_said_before_the_start(tmp_path: Path) -> None:
    receiver = receiving.receiver_of(tmp_path)
    async with receiver.lifespan():
        with pytest.raises(ConfigurationError, match="has started"):
            receiver.forward("*", to="https://hooks.example.com/a")
    receiver.forward("*", to="https://hooks.example.com/a")


def test_an_event_that_nobody_sends_is_warned_of_where_it_is_written(tmp_path: Path) -> None:
    with pytest.warns(UnknownEventWarning, match="chunking.completed") as warned:
        receiving.receiver_of(tmp_path).forward("chunking.complete", to="https://hooks.example.com/a")
    assert warned[0].filename == __file__


@pytest.mark.parametrize(
    "wrong",
    [
        {"to": "https://hooks.example.com/C0CANARY\n"},
        {"format": "teams"},
        {"format": None},
        {"secret": " "},
        {"secret": 7},
        {"headers": {"Host": "x"}},
        {"headers": {"X-MoRAG-Signature": "C0CANARY"}},
        {"headers": {"x-morag-delivery-id": "C0CANARY"}},
        {"headers": {"Transfer-Encoding": "chunked"}},
        {"headers": {"X": "C0CANARY\r\nEvil: 1"}},
        {"headers": {"X": "C0CANARYé"}},
        {"headers": {"X:": "C0CANARY"}},
        {"headers": ["X"]},
        {"name": ""},
        {"retry": 3},
        {"timeout": 0},
        {"timeout": "soon"},
        {"where": 1},
        {"allow_private": True},
    ],
    ids=str,
)
def test_what_cannot_work_is_said_at_once_and_shows_no_secret(tmp_path: Path, wrong: dict[str, Any]) -> None:
    receiver = receiving.receiver_of(tmp_path)
    with pytest.raises(ConfigurationError) as refused:
        receiver.forward("*", **{"to": "https://hooks.example.com/a", **wrong})

    assert "CANARY" not in str(refused.value)
    assert receiver.handler_names == []


def test_no_event_at_all_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no event"):
        receiving.receiver_of(tmp_path).forward(to="https://hooks.example.com/a")


# Secrets.


@pytest.mark.parametrize("status", [400, 500, 429])
async def test_no_secret_is_in_a_log_an_error_or_the_database(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    # given a service that repeats in its answer all that it was sent
    def echo(posted: others.Posted) -> Reply:
        said = f"{posted.path} S0CANARY {posted.headers['authorization']} {SIGNED} {posted.headers}".encode()
        return Reply(status, said, {"retry-after": "1"})

    service, errors = Service(answer=echo), []
    registry = Registry()

    @registry.on_error
    def complain(error: Exception, context: Context) -> None:
        errors.append(f"{error} {error!r} {context}")

    with others.running(service) as url, caplog.at_level(logging.DEBUG):
        receiver = receiving.receiver_of(tmp_path, registry, signing_key="k", public_url="https://a.test")
        receiver.forward(
            "*",
            to=f"{url}/services/T0CANARY/B0CANARY%2Fx?key=K0CANARY",
            secret="S0CANARY",
            headers={"Authorization": "Bearer A0CANARY"},
            retry=RetryPolicy(attempts=2, first=0, cap=0),
            allow_private="127.0.0.1",
        )
        async with receiver.lifespan():
            body = deliveries.task_body(metadata={"webhook_url": f"https://a.test/webhook/{SIGNED}"})
            (record,) = await receiving.send(receiver, body)
            (run,) = await settled(receiver, record, "failed")
            (letter,) = await receiver.dead_letters.list()

    # then the service was sent them, but for the token of a signed URL
    (posted, *_) = service.posted
    assert "T0CANARY" in posted.path
    assert posted.headers["authorization"] == "Bearer A0CANARY"
    assert b"webhook/REDACTED" in posted.body
    # and nobody else
    assert errors
    texts = [caplog.text, *errors, repr(run), repr(letter), repr(receiver.handler_names)]
    texts += everything_in(tmp_path)
    assert [text for text in texts if "CANARY" in text or SIGNED[-43:] in text] == []
    assert "REDACTED" in run.error


def everything_in(folder: Path) -> list[str]:
    return [path.read_bytes().decode(errors="replace") for path in folder.iterdir()]


SIGNED = "morag-w1." + "a" * 40 + "." + "b" * 43
