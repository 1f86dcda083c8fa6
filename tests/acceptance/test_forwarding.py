"""Events passed on to other services: over real sockets, by handlers like any other."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import deliveries
import others
import receiving
from others import Reply, Service

from morag_client import (
    Receiver,
    RetryPolicy,
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
