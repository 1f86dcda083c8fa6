"""What senders and MoRAG may say: nothing of it keeps other tasks from their end, or is stored that opens a door."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import deliveries
import pytest
import receiving
from asking import DONE, Answers
from mocking import asked

from morag_client import AsyncMoragClient, Event, Receiver, Registry
from morag_client.wire.authentication import Tenant

CANARY = "morag-w1.eyJkb2N1bWVudCI6IjQyIn0.c2lnbmF0dXJlLW9mLXRoaXMtY2FuYXJ5LWluLWEtdGVzdA"
"""Looks like the token of a signed URL."""


def receiver_of(folder: Path, got: list[Event], **options: Any) -> Receiver:
    registry = Registry()
    registry.on("task.completed", name="note")(got.append)
    return receiving.receiver_of(folder, registry, reconcile_interval=float("inf"), **options)


async def test_an_id_that_cannot_be_asked_about_keeps_nobody_out(tmp_path: Path) -> None:
    got: list[Event] = []
    odd = [".", "..", "a/history", "events/recent", "stats/queues", "x\n", "é", "%2F", "?a=b", "a" * 255]
    with asked(profile="r1", max_retries=0) as morag:
        known = morag.wait(morag.upload("/api/v1/ingest/file").json()["task_id"])
        async with AsyncMoragClient(base_url=morag.mock.url, api_key="test-api-key", attempts=1) as client:
            receiver = receiver_of(tmp_path, got, client=client)
            async with receiver.lifespan():
                await receiving.send(receiver, *(deliveries.task_body(task, "started") for task in [*odd, known]))
                await receiver.idle()
                report = await receiver.reconcile()
                await receiver.idle()

    assert [event.task_id for event in got] == [known]
    assert report.made == {"task.completed": 1}
    assert (report.asked + report.left, report.is_broken_off) == (len(odd) + 1, False)


async def test_an_answer_about_another_task_is_none(tmp_path: Path) -> None:
    got: list[Event] = []
    receiver = receiver_of(tmp_path, got, client=Answers(mine={**DONE, "task_id": "theirs"}))
    async with receiver.lifespan():
        await receiving.send(receiver, deliveries.task_body("mine", "started"))
        await receiver.idle()
        report = await receiver.reconcile()
        await receiver.idle()

    assert (got, report.made, report.left) == ([], {}, 1)
    assert "'theirs'" in report.errors[0]


@pytest.mark.parametrize("where", ["result", "error"])
async def test_the_token_of_a_signed_url_that_morag_repeats_is_stored_nowhere(tmp_path: Path, where: str) -> None:
    url = f"https://app.example.com/webhook/{CANARY}"
    status: dict[str, Any] = {
        "result": {"status": "success", "result": {"metadata": {"webhook_url": url}}},
        "error": {"status": "failure", "error": f"could not post to {url}", "message": url},
    }[where]
    receiver = receiver_of(tmp_path, [], client=Answers(mine=status))
    async with receiver.lifespan():
        await receiving.send(receiver, deliveries.task_body("mine", "started"))
        await receiver.idle()
        report = await receiver.reconcile()
        await receiver.idle()

    assert report.made.total() == 1
    assert b"app.example.com" in everything_in(tmp_path)
    assert CANARY.encode() not in everything_in(tmp_path)


def everything_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())


async def test_each_of_two_tenants_with_one_id_is_asked_about(tmp_path: Path) -> None:
    got: list[Event] = []
    answers = Answers(mine=DONE)

    def tenant_of(delivery: Any) -> Tenant:
        name = dict(delivery.headers).get(b"x-tenant", b"").decode()
        return Tenant(name, secrets=[deliveries.SECRET])

    receiver = receiver_of(tmp_path, got, client=answers, secrets=tenant_of)
    async with receiver.lifespan():
        for tenant in ("acme", "umbrella"):
            body = deliveries.task_body("mine", "started")
            await receiver.receive(deliveries.delivery(body, x_tenant=tenant))
        await receiver.idle()
        report = await receiver.reconcile()
        await receiver.idle()

    assert (report.asked, report.made) == (2, {"task.completed": 2})
    assert answers.asked == ["mine", "mine"]


async def test_what_morag_lists_of_tenants_is_nobodys(tmp_path: Path) -> None:
    answers = Answers(mine=DONE)
    answers.recent = [{"task_id": "mine", "status": "success", "timestamp": "2100-01-01T00:00:00Z"}]

    receiver = receiver_of(tmp_path, [], client=answers, secrets=lambda _: Tenant("acme", secrets=["s"]))
    async with receiver.lifespan():
        report = await receiver.reconcile()

    assert (report.asked, report.found) == (0, 0)
