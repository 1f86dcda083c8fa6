"""The events of one task out of an inbox: those that are stored, and then those that come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from morag_client.config import Settings
from morag_client.events.types import Event
from morag_client.inbox.inbox import Inbox
from morag_client.inbox.location import Location
from morag_client.inbox.queries import Queries
from morag_client.inbox.rows import now
from morag_client.processing.work import work_of
from morag_client.receiver.lifecycle import Lifecycle
from morag_client.wire.identity import task_key

_FIRST_WAIT: Final = 0.05
_LONGEST_WAIT: Final = 1.0
_GROWTH: Final = 1.4
_AT_ONCE: Final = 200
_UNNUMBERED: Final = timedelta(seconds=1.5)
"""A record that has no number after this long is given out without: no worker is there to number it."""


class Following:
    """Reads the inbox of a receiver, whether that runs in this event loop, in another one, in another process or not.

    It never starts the receiver: whoever waits for a task need not become a worker.
    """

    def __init__(self, lifecycle: Lifecycle, location: Location, settings: Settings) -> None:
        self._lifecycle = lifecycle
        self._location = location
        self._settings = settings

    async def events(self, task_id: str, *, tenant: str = "") -> AsyncGenerator[Event, None]:
        """The events of a task in the order in which its handlers get them, without an end. Raises InboxUnavailable.

        Where no worker numbers them, in the order of their arrival. What was pruned is left out.
        """
        key = task_key(tenant=tenant, task_id=task_id)
        assert key is not None  # noqa: S101  # for the type checker: there is an id
        given: set[int] = set()
        last, wait = 0, _FIRST_WAIT
        async with self._opened() as inbox:
            queries = Queries(inbox)
            while True:
                new = await queries.task_after(
                    key, sequence=last, unnumbered_before=now() - _UNNUMBERED, limit=_AT_ONCE
                )
                fresh = [record_id for record_id, _ in new if record_id not in given]
                last = max([last, *(sequence for _, sequence in new if sequence is not None)])
                for event in await _events(queries, fresh):
                    yield event
                given.update(fresh)
                wait = _FIRST_WAIT if fresh else min(wait * _GROWTH, _LONGEST_WAIT)
                if len(new) < _AT_ONCE or not fresh:
                    await asyncio.sleep(wait)

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Inbox]:
        runtime = self._lifecycle.running
        if runtime is not None:
            yield runtime.inbox
            return
        inbox = Inbox(
            self._location,
            prefix=self._settings.table_prefix,
            commit_timeout=self._settings.commit_timeout,
            on_stored=lambda *_: None,
        )
        await inbox.open()
        try:
            yield inbox
        finally:
            await inbox.close()


async def _events(queries: Queries, record_ids: list[int]) -> list[Event]:
    found = {record.id: work_of(record).event for record in await queries.load(record_ids)}
    return [event for record_id in record_ids if (event := found.get(record_id)) is not None]
