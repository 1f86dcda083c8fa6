"""The tasks that events told of, as an application sees them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from morag_client.errors import ConfigurationError
from morag_client.inbox.queries import Record
from morag_client.progress.scopes import make_scope
from morag_client.progress.state import State, TaskState
from morag_client.progress.tasks import TaskQueries
from morag_client.receiver.lifecycle import Lifecycle
from morag_client.wire.identity import task_key
from morag_client.wire.signed_url import REF

ENDED: Final = frozenset({"completed", "cancelled", "failed", "lost"})
"""The states in which a task has ended; the first of them is for good."""


class Tasks:
    """What is known of tasks: `receiver.tasks`. Raises InboxUnavailable where the database does not answer."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle

    async def list(
        self,
        *,
        limit: int = 50,
        state: State | None = None,
        document_id: str | None = None,
        tenant: str | None = None,
    ) -> Sequence[TaskState]:
        """The tasks whose first events came last, newest first; None is any state, document or tenant."""
        queries = await self._queries()
        stored = await queries.newest(limit=limit, state=state, document_id=document_id, tenant=tenant)
        observed = await (await self._lifecycle.runtime()).live.observed()
        if not observed:
            return stored
        wanted = {"state": state, "document_id": document_id, "tenant": tenant}
        found = [update.state for update in reversed(list(observed.values()))]
        mine = [task for task in found if all(value in (None, getattr(task, name)) for name, value in wanted.items())]
        known = {_identity(task) for task in found}
        return [*mine, *(task for task in stored if _identity(task) not in known)][:limit]

    async def get(self, task_id: str | None = None, *, ref: str | None = None, tenant: str = "") -> TaskState:
        """The task of an id; with `ref`, what was posted to that signed URL and states no task id.

        Raises RecordNotFound, also where no worker has looked at its events yet, and ConfigurationError where neither
        or both are given.
        """
        queries = await self._queries()
        observed = await (await self._lifecycle.runtime()).live.observed()
        key = task_key(tenant=tenant, task_id=task_id, ref=ref) if (task_id is None) != (ref is None) else None
        if key is not None and key in observed:
            return observed[key].state
        return await queries.get(task_id, ref=ref, tenant=tenant)

    async def watch(
        self, task_id: str | None = None, *, ref: str | None = None, tenant: str = ""
    ) -> AsyncGenerator[TaskState, None]:
        """The states of a task as they come, beginning with what it is now, if it is known, and ending with its end.

        Which one is said as with `get`; of one that is not known yet, the first state is that of its first event. At
        most ten states a second tell of progress alone. A task that has failed may still be tried again and succeed.
        Raises ConfigurationError where neither or both ids are given.
        """
        if (task_id is None) == (ref is None):
            raise ConfigurationError("say which task: by its id, or by ref=")
        scope = make_scope(task=task_id, correlation=None if ref is None else {REF: ref}, tenant=tenant)
        live = (await self._lifecycle.runtime()).live
        async with contextlib.aclosing(live.follow(scope)) as updates:
            async for update in updates:
                yield update.state
                if update.state.state in ENDED:
                    return

    async def events(
        self, task_id: str | None = None, *, ref: str | None = None, tenant: str = "", limit: int = 1000
    ) -> Sequence[Record]:
        """The events of a task in the order their handlers get them, with their runs and without their bodies.

        Which one is said as with `get`. Empty where there are none.
        """
        return await (await self._queries()).events(task_id, ref=ref, tenant=tenant, limit=limit)

    async def _queries(self) -> TaskQueries:
        return TaskQueries((await self._lifecycle.runtime()).inbox)


def _identity(task: TaskState) -> tuple[str, str | None, str | None]:
    return task.tenant, task.task_id, None if task.task_id else task.correlation.get(REF)
