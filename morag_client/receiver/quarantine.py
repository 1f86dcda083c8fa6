"""What is in quarantine: looked at, taken again after an upgrade, given up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from morag_client.errors import ConfigurationError, DeliveryRejected, RecordNotFound
from morag_client.inbox import quarantine
from morag_client.inbox.audit import Entry
from morag_client.inbox.inbox import Inbox
from morag_client.inbox.quarantine import Quarantined, Refusal
from morag_client.receiver.lifecycle import Lifecycle
from morag_client.receiver.understanding import understand

_NAMED: Final = 10


@dataclass(frozen=True, slots=True)
class Retaken:
    """What became of deliveries in quarantine that were read again.

    `accepted` are records now; `known` were records already, since they were sent again meanwhile; `refused` still
    cannot be understood or stored and stay, with what is wrong with them by now.
    """

    accepted: int = 0
    known: int = 0
    refused: int = 0

    def plus(self, other: Retaken) -> Retaken:
        return Retaken(self.accepted + other.accepted, self.known + other.known, self.refused + other.refused)


class Quarantine:
    """The quarantine of a receiver, as `receiver.quarantine`. Everything here raises InboxUnavailable."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle

    async def list(self, *, limit: int = 50) -> Sequence[Quarantined]:
        """The newest deliveries in quarantine, newest first, without their bodies."""
        return await quarantine.newest((await self._inbox()).database, limit=limit)

    async def get(self, quarantine_id: int) -> Quarantined:
        """The delivery of an id, with its body. Raises RecordNotFound."""
        return await quarantine.get((await self._inbox()).database, quarantine_id)

    async def retry(
        self, *ids: int, everything: bool = False, who: str = "application", why: str | None = None
    ) -> Retaken:
        """Reads deliveries again, as after an upgrade, and stores and handles those that are understood by now.

        `everything` means all of them; `who` and `why` go into the audit. Raises RecordNotFound where an id is none in
        quarantine, and ConfigurationError where nothing says which are meant; nothing is changed then.
        """
        runtime = await self._lifecycle.runtime()
        chosen = await _chosen(runtime.inbox, ids, everything=everything)
        try:
            return await retake(runtime.inbox, chosen, who=who, why=why)
        finally:
            # Also where the database went away in between: what was stored before is committed.
            runtime.look_again()

    async def discard(
        self, *ids: int, everything: bool = False, who: str = "application", why: str | None = None
    ) -> int:
        """Deletes deliveries for good; how many there were. Arguments and errors are those of `retry`."""
        inbox = await self._inbox()
        chosen = await _chosen(inbox, ids, everything=everything)
        return await quarantine.discard(inbox.database, chosen, who=who, why=why)

    async def turned_away(self) -> int:
        """How many deliveries this process did not keep, since the quarantine was full."""
        return (await self._inbox()).quarantining.turned_away

    async def _inbox(self) -> Inbox:
        return (await self._lifecycle.runtime()).inbox


async def retake(inbox: Inbox, ids: Sequence[int] | None = None, *, who: str, why: str | None = None) -> Retaken:
    """Reads deliveries in quarantine again, all where no ids are given; nobody has to vouch for them a second time.

    Each that is understood now becomes a record of the same identity and time of receipt, and leaves the quarantine
    after that is committed. Raises InboxUnavailable; what was stored by then is found as `known` the next time.
    """
    total = Retaken()
    entry = quarantine.entry_of(inbox.database, ids, action="quarantine retry", who=who, why=why)
    async for portion in quarantine.sized_portions(inbox.database, ids):
        total = total.plus(await _retake(inbox, await quarantine.load(inbox.database, portion), entry))
    return total


async def _chosen(inbox: Inbox, ids: Sequence[int], *, everything: bool) -> Sequence[int] | None:
    if bool(ids) == everything:
        raise ConfigurationError("say which deliveries: by their ids, or everything=True")
    if unknown := await quarantine.missing(inbox.database, ids):
        raise RecordNotFound(f"there is no delivery {', '.join(map(str, unknown[:_NAMED]))} in quarantine")
    return None if everything else ids


async def _retake(inbox: Inbox, deliveries: Sequence[Quarantined], entry: Entry) -> Retaken:
    """Takes some again, in the order in which they came, sharing a commit."""
    outcomes = await asyncio.gather(*(_store(inbox, one) for one in deliveries), return_exceptions=True)
    accepted, known, refused, trouble = list[int](), list[int](), list[Refusal](), list[BaseException]()
    for one, outcome in zip(deliveries, outcomes, strict=True):
        if isinstance(outcome, DeliveryRejected):
            refused.append(Refusal(one.id, outcome.status, outcome.code, list(outcome.problems)))
        elif isinstance(outcome, BaseException):
            trouble.append(outcome)
        else:
            (accepted if outcome else known).append(one.id)
    settle = partial(
        quarantine.settle, database=inbox.database, understood=accepted + known, refused=refused, entry=entry
    )
    await inbox.database.write(settle)
    entry.committed()
    if trouble:
        raise trouble[0]
    return Retaken(len(accepted), len(known), len(refused))


async def _store(inbox: Inbox, delivery: Quarantined) -> bool:
    """Whether it is a new record. Raises DeliveryRejected and InboxUnavailable."""
    row, _ = understand(delivery.arrival)
    return (await inbox.store(row)).is_new
