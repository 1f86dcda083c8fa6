"""What a receiver does with what it could not understand, and with what is old."""

from datetime import timedelta
from typing import assert_type

from morag_client import Pruned, Quarantined, Receiver, Retaken


async def tidy(receiver: Receiver) -> int:
    for delivery in await receiver.quarantine.list(limit=5):
        assert_type(delivery, Quarantined)
    assert_type((await receiver.quarantine.get(7)).body, bytes | None)
    retaken = await receiver.quarantine.retry(7, 8, who="anna", why="upgraded")
    assert_type(retaken, Retaken)
    assert_type(await receiver.prune(timedelta(days=30), keep_failures=True), Pruned)
    return retaken.accepted + await receiver.quarantine.discard(everything=True)
