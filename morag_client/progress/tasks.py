"""Reading what is known of tasks."""

from __future__ import annotations

from typing import Any, get_args

from sqlalchemy import Select, select
from sqlalchemy.engine import Connection

from morag_client.errors import ConfigurationError, RecordNotFound
from morag_client.inbox.asking import checked_limit, checked_state, checked_text
from morag_client.inbox.inbox import Inbox
from morag_client.inbox.queries import Queries, Record
from morag_client.progress.state import State, TaskState, from_values
from morag_client.wire.identity import task_key


class TaskQueries:
    """What can be asked of `webhook_tasks`. Everything here raises InboxUnavailable.

    Tasks that an earlier release began, before it kept their states, are not listed; asked for by id they are found,
    with the state that the events since then tell of.
    """

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._tasks = inbox.database.tables.tasks
        self._queries = Queries(inbox)

    async def newest(
        self, *, limit: int, state: State | None = None, document_id: str | None = None, tenant: str | None = None
    ) -> list[TaskState]:
        """The tasks whose first events came last, newest first; None is any state, document or tenant."""
        tasks = self._tasks
        statement = select(tasks).where(tasks.c.first_record_id.is_not(None)).order_by(tasks.c.first_record_id.desc())
        if state is not None:
            statement = statement.where(tasks.c.state == checked_state(state, get_args(State)))
        for column, wanted in ((tasks.c.document_id, document_id), (tasks.c.tenant, tenant)):
            if wanted is not None:
                statement = statement.where(column == checked_text(wanted, of=column.name))
        return await self._states(statement.limit(checked_limit(limit)))

    async def get(self, task_id: str | None = None, *, ref: str | None = None, tenant: str = "") -> TaskState:
        """The task of an id, or of what was posted to the URL of a `ref` without one.

        Raises RecordNotFound, also where none of its events has been looked at yet.
        """
        found = await self._states(select(self._tasks).where(self._tasks.c.key == _key(task_id, ref, tenant)))
        if not found:
            raise RecordNotFound(f"there is no task {task_id!r}" if ref is None else f"there is no task of ref {ref!r}")
        return found[0]

    async def events(
        self, task_id: str | None = None, *, ref: str | None = None, tenant: str = "", limit: int
    ) -> list[Record]:
        """The first events of a task with their runs, without their bodies, in the order they were numbered in.

        Those that have no number yet come last. Empty where there are none.
        """
        return await self._queries.of_task(_key(task_id, ref, tenant), limit=limit)

    async def _states(self, statement: Select[Any]) -> list[TaskState]:
        def work(connection: Connection) -> list[TaskState]:
            return [from_values(row._asdict()) for row in connection.execute(statement)]

        return await self._inbox.database.read(work, patience=self._inbox.patience)


def _key(task_id: str | None, ref: str | None, tenant: str) -> bytes:
    key = None if task_id is not None and ref is not None else task_key(tenant=tenant, task_id=task_id, ref=ref)
    if key is None:
        raise ConfigurationError("say which task: by its id, or by ref=")
    return key
