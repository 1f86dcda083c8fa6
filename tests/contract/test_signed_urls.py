"""What signed URLs carry, as it is stored and found again."""

from __future__ import annotations

from collections.abc import AsyncIterator

import bodies
import deliveries
import pytest

from morag_client import ConfigurationError, Delivery, Receiver, RecordNotFound, Registry

HERE = "https://app.example.com"


@pytest.fixture
async def receiver(database_url: str) -> AsyncIterator[Receiver]:
    registry = Registry()
    registry.on("*", name="index")(lambda event: None)
    receiver = Receiver(registry=registry, signing_key="key", public_url=HERE, database_url=database_url)
    async with receiver.lifespan():
        yield receiver


async def send(receiver: Receiver, *sent: bytes, **correlation: str | int) -> str:
    """The ref of the URL that these were posted to."""
    token = receiver.webhook_url(**correlation).rpartition("/")[2]
    for body in sent:
        await receiver.receive(Delivery(body, token=token))
    await receiver.idle()
    [record, *_] = await receiver.events.list(limit=1)
    return record.correlation["ref"]


async def test_records_are_found_by_any_of_the_ids_they_have(receiver: Receiver) -> None:
    async def found(**wanted: object) -> list[int]:
        return [record.id for record in await receiver.events.list(correlation=wanted)]

    await send(receiver, deliveries.task_body(), tenant="acme", document=42)
    await send(receiver, deliveries.task_body(), tenant="Acme", note='"tenant":"acme" 100%_ \\ ä')
    ref = await send(receiver, deliveries.task_body(), deliveries.unknown_body(), tenant="acme ", document=4)

    assert await found(tenant="acme") == [1]
    assert await found(tenant="Acme") == [2]
    assert await found(document=42) == await found(document="42", tenant="acme") == [1]
    assert await found(note='"tenant":"acme" 100%_ \\ ä') == [2]
    assert await found(ref=ref) == [4, 3]
    for nothing in (
        {"tenant": "acm"},
        {"tenan": "acme"},
        {"document": 42, "tenant": "Acme"},
        {"note": "%"},
        {"x": "\0"},
    ):
        assert await found(**nothing) == []
    assert len(await receiver.events.list(correlation={})) == 4


async def test_what_has_no_id_is_a_task_by_its_ref(receiver: Receiver) -> None:
    idless = [bodies.body(name) for name in ("r3_stage_completed", "r3_pipeline_completed")]
    refs = [await send(receiver, *idless, document=number) for number in (1, 2)]

    tasks = await receiver.tasks.list()

    assert [(task.task_id, task.state, task.correlation["document"]) for task in tasks] == [
        (None, "completed", "2"),
        (None, "completed", "1"),
    ]
    for number, ref in enumerate(refs, 1):
        assert (await receiver.tasks.get(ref=ref)).correlation == {"document": str(number), "ref": ref}
        assert [record.sequence for record in await receiver.tasks.events(ref=ref)] == [1, 2]
    with pytest.raises(RecordNotFound, match="ref 'unknown'"):
        await receiver.tasks.get(ref="unknown")
    for neither_or_both in ({}, {"task_id": "a", "ref": "b"}):
        with pytest.raises(ConfigurationError, match="ref="):
            await receiver.tasks.get(**neither_or_both)
