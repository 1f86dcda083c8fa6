"""The runs that gave up, as an application sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from morag_client.errors import ConfigurationError, RecordNotFound
from morag_client.inbox import dead_letters
from morag_client.inbox.dead_letters import DeadLetter, DeadLetterFilter, Retried
from morag_client.receiver.lifecycle import Lifecycle
from morag_client.receiver.runtime import Runtime

_NAMED: Final = 10


class DeadLetters:
    """The handlers' runs that gave up, kept until somebody acts: `receiver.dead_letters`.

    Those that are meant are chosen by `handler`, `name` (a pattern as `@on` takes it) and `task_id`, and where
    something is done to them also by their ids; all that is given has to hold. With `orphaned`, the runs are meant that
    wait for a handler that is gone. All of it raises InboxUnavailable.
    """

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle

    async def list(
        self,
        *,
        limit: int = 50,
        handler: str | None = None,
        name: str | None = None,
        task_id: str | None = None,
        orphaned: bool = False,
    ) -> Sequence[DeadLetter]:
        """The newest dead letters, newest first, without their tracebacks; nothing given: all."""
        wanted = DeadLetterFilter(handler=handler, name=name, task_id=task_id, orphaned=orphaned)
        return await dead_letters.newest((await self._lifecycle.runtime()).inbox.database, wanted, limit=limit)

    async def get(self, dead_letter_id: int) -> DeadLetter:
        """The dead letter of an id, with its traceback. Raises RecordNotFound."""
        return await dead_letters.get((await self._lifecycle.runtime()).inbox.database, dead_letter_id)

    async def retry(
        self,
        *ids: int,
        handler: str | None = None,
        name: str | None = None,
        task_id: str | None = None,
        orphaned: bool = False,
        who: str = "application",
        why: str | None = None,
    ) -> Retried:
        """Lets handlers run again, with all their attempts, beginning with the first; `name="*"` means all of them.

        `who` and `why` go into the audit. Raises RecordNotFound where an id is no dead letter, and ConfigurationError
        where nothing says which are meant; nothing is changed then.
        """
        wanted = _chosen(ids, handler=handler, name=name, task_id=task_id, orphaned=orphaned)
        runtime = await self._lifecycle.runtime()
        await _check(runtime, ids)
        try:
            return await dead_letters.retry(runtime.inbox.database, wanted, who=who, why=why)
        finally:
            # Also where the database went away in between: what was done before is committed.
            runtime.look_again()

    async def discard(
        self,
        *ids: int,
        handler: str | None = None,
        name: str | None = None,
        task_id: str | None = None,
        orphaned: bool = False,
        who: str = "application",
        why: str | None = None,
    ) -> int:
        """Gives dead letters up for good; how many there were. Arguments and errors are those of `retry`."""
        wanted = _chosen(ids, handler=handler, name=name, task_id=task_id, orphaned=orphaned)
        runtime = await self._lifecycle.runtime()
        await _check(runtime, ids)
        return await dead_letters.discard(runtime.inbox.database, wanted, who=who, why=why)


def _chosen(
    ids: Sequence[int], *, handler: str | None, name: str | None, task_id: str | None, orphaned: bool
) -> DeadLetterFilter:
    wanted = DeadLetterFilter(ids=ids or None, handler=handler, name=name, task_id=task_id, orphaned=orphaned)
    if wanted.is_everything:  # which a list of ids that happens to be empty does not mean
        raise ConfigurationError("say which dead letters: by id, handler, name or task; name='*' means all of them")
    return wanted


async def _check(runtime: Runtime, ids: Sequence[int]) -> None:
    unknown = await dead_letters.missing(runtime.inbox.database, ids)
    if unknown:
        raise RecordNotFound(f"there is no dead letter {', '.join(map(str, unknown[:_NAMED]))}")
