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

    async def get(self, task_id: str | None = None, *, ref: str | None = None, tenant: str = "") -> TaskState:
        """The task of an id; with `ref`, what was posted to that signed URL and states no task id.

        Raises RecordNotFound, also where no worker has looked at its events yet, and ConfigurationError where neither
        or both are given.
        """
        return await (await self._queries()).get(task_id, ref=ref, tenant=tenant)

    async def events(
        self, task_id: str | None = None, *, ref: str | None = None, tenant: str = "", limit: int = 1000
    ) -> Sequence[Record]:
        """The events of a task in the order their handlers get them, with their runs and without their bodies.

        Which one is said as with `get`. Empty where there are none.
        """
        return await (await self._queries()).events(task_id, ref=ref, tenant=tenant, limit=limit)

    async def _queries(self) -> TaskQueries:
        return TaskQueries((await self._lifecycle.runtime()).inbox)
