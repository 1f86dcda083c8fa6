"""The tasks that events told of, as an application sees them."""

from __future__ import annotations

from collections.abc import Sequence

from morag_client.inbox.queries import Record
from morag_client.progress.state import State, TaskState
from morag_client.progress.tasks import TaskQueries
from morag_client.receiver.lifecycle import Lifecycle


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
        return await queries.newest(limit=limit, state=state, document_id=document_id, tenant=tenant)

    async def get(self, task_id: str, *, tenant: str = "") -> TaskState:
        """The task of an id. Raises RecordNotFound, also where no worker has looked at its events yet."""
        return await (await self._queries()).get(task_id, tenant=tenant)

    async def events(self, task_id: str, *, tenant: str = "", limit: int = 1000) -> Sequence[Record]:
        """The events of a task in the order their handlers get them, with their runs and without their bodies.

        Empty where there are none.
        """
        return await (await self._queries()).events(task_id, tenant=tenant, limit=limit)

    async def _queries(self) -> TaskQueries:
        return TaskQueries((await self._lifecycle.runtime()).inbox)
