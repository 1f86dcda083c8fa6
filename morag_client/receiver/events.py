"""The stored events, as an application sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from morag_client.inbox.queries import Record
from morag_client.receiver.lifecycle import Lifecycle


class Events:
    """What the inbox holds: `receiver.events`. Raises InboxUnavailable where the database does not answer."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle

    async def list(
        self,
        *,
        limit: int = 50,
        state: str | None = None,
        task_id: str | None = None,
        name: str | None = None,
        correlation: Mapping[str, object] | None = None,
    ) -> Sequence[Record]:
        """The newest records with their handlers' runs, newest first, without their bodies.

        `state` is stored (waits for its handlers), retrying, handled or failed, `name` a pattern as `@on` takes it
        (`*.failed`), `correlation` some of the ids of signed URLs; None is any state, task, name or id. Those of a
        task, in their order, are `receiver.tasks.events`.
        """
        queries = (await self._lifecycle.runtime()).queries
        return await queries.newest(limit=limit, state=state, task_id=task_id, name=name, correlation=correlation)

    async def get(self, record_id: int) -> Record:
        """The record of an id, with its body and its handlers' runs. Raises RecordNotFound."""
        return await (await self._lifecycle.runtime()).queries.get(record_id)
