"""Signed webhook URLs, made by a receiver or by whoever only submits."""

from datetime import timedelta
from typing import assert_type
from uuid import UUID

from morag_client import Event, Receiver, Settings, SignedUrlExpired, webhook_url


def submit(receiver: Receiver, job: UUID) -> list[str]:
    assert_type(receiver.bearer_token, str | None)
    settings = Settings.load(signing_key=["new", "old"], public_url="https://app.example.com")
    return [
        receiver.webhook_url(),
        receiver.webhook_url(tenant="acme", document=42, job=job, max_age=60.0),
        webhook_url(tenant="acme"),
        webhook_url(settings, document=42, max_age=timedelta(days=1)),
    ]


async def look(receiver: Receiver, event: Event) -> str | None:
    assert_type(event.correlation["tenant"], str)
    await receiver.events.list(correlation={"tenant": "acme", "document": 42})
    task = await receiver.tasks.get(ref=event.correlation["ref"])
    assert_type(task.task_id, str | None)
    await receiver.tasks.events(ref=event.correlation["ref"])
    return task.correlation.get("tenant")


def status(error: SignedUrlExpired) -> int:
    return error.status
