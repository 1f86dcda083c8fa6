"""Following tasks where nobody handles their events: a receiver without handlers leaves records as they are.

They wait for a receiver with handlers, which will number them and write their tasks' states. Until then the states are
worked out in memory, from what is stored, whenever somebody asks or listens.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

from morag_client.errors import InboxUnavailable
from morag_client.events.names import UNKNOWN
from morag_client.inbox.queries import Queries, Record
from morag_client.processing.work import work_of
from morag_client.progress.history import History, result_in
from morag_client.progress.state import TaskState, advance, fresh
from morag_client.progress.updates import Update, last_state, update_of

logger = logging.getLogger("morag_client.progress")

MOST_STORED: Final = 10_000
"""The newest so many records that wait are looked at; tasks that were over before are not known here."""
MOST_TASKS: Final = 2048
_BATCH: Final = 128
_POLL: Final = 1.0


class Observer:
    """Works out the states of tasks from the records that wait, and tells `publish` of each one.

    `is_wanted()` says whether anybody listens.
    """

    def __init__(
        self, *, queries: Queries, history: History, publish: Callable[[Update], None], is_wanted: Callable[[], bool]
    ) -> None:
        self._queries = queries
        self._history = history
        self._publish = publish
        self._is_wanted = is_wanted
        self._tasks: dict[bytes, Update] = {}
        self._cursor: int | None = None
        self._reading = asyncio.Lock()
        self._has_news = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Something was stored, or somebody began to listen."""
        self._has_news.set()
        if self._watching is None:
            self._watching = asyncio.get_running_loop().create_task(self._watch(), name="morag-observer")

    async def stop(self) -> None:
        """Looks no more."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])

    async def tasks(self) -> Mapping[bytes, Update]:
        """How the tasks are, those last that changed last. Raises InboxUnavailable."""
        await self.catch_up()
        return self._tasks

    async def catch_up(self) -> None:
        """Looks at what was stored since the last time. Raises InboxUnavailable."""
        async with self._reading:
            if self._cursor is None:
                self._cursor = await self._history.first_of_newest_stored(MOST_STORED)
            while ids := await self._queries.waiting_ids(after=self._cursor, limit=_BATCH):
                records = [record for record in await self._queries.load(ids) if record.sequence is None]
                keys = {record.task_key for record in records if record.task_key is not None}
                stored = await self._history.states_of(keys - self._tasks.keys())
                for record in records:
                    if record.task_key is not None:
                        self._take(record.task_key, record, stored)
                while len(self._tasks) > MOST_TASKS:
                    del self._tasks[next(iter(self._tasks))]
                self._cursor = ids[-1]

    async def _watch(self) -> None:
        while True:
            self._has_news.clear()
            try:
                if self._is_wanted():
                    await self.catch_up()
            except InboxUnavailable as error:
                logger.warning("the progress of tasks cannot be looked up: %s", error)
            try:
                # Other processes store too, and nobody tells us.
                async with asyncio.timeout(_POLL if self._is_wanted() else None):
                    await self._has_news.wait()
            except TimeoutError:
                pass

    def _take(self, key: bytes, record: Record, stored: Mapping[bytes, TaskState]) -> None:
        known = self._tasks.pop(key, None)
        work = work_of(record)
        fields = {"name": UNKNOWN} if work.reading is None else work.reading.fields
        before = known.state if known is not None else stored.get(key) or fresh(record.task_id, record.tenant)
        after, is_late = advance(before, fields, received_at=record.received_at)
        self._tasks[key] = last_state(key, after, result=self._result(known, after, record))
        self._publish(update_of(key, after, fields, received_at=record.received_at, is_late=is_late))

    def _result(self, known: Update | None, state: TaskState, record: Record) -> object:
        if state.state != "completed":
            return None
        if known is not None and known.state.state == "completed":
            return known.message["result"]
        return None if record.body is None else result_in(record.body)
