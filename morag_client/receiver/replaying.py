"""Handling stored events again, in the receiver that runs their handlers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from morag_client.errors import ConfigurationError, RecordNotFound
from morag_client.inbox import replaying
from morag_client.inbox.replay_criteria import Replay, ReplayCriteria
from morag_client.receiver.runtime import Runtime

_NAMED: Final = 10


class Replaying:
    """One replay. Everything here raises RecordNotFound, ConfigurationError and InboxUnavailable."""

    def __init__(self, runtime: Runtime, criteria: ReplayCriteria, *, known_handlers: Sequence[str]) -> None:
        self._runtime = runtime
        self._database = runtime.inbox.database
        self._criteria = criteria
        self._known_handlers = known_handlers

    async def count(self) -> Replay:
        """What a replay would do by now."""
        await self._check()
        return await replaying.count(self._database, self._criteria)

    async def replay(self, *, who: str, why: str | None) -> Replay:
        """Replays what is meant, and lets the engine look for it at once."""
        await self._check()
        try:
            return await replaying.replay(self._database, self._criteria, who=who, why=why)
        finally:
            # Also where the database went away in between: what was done before is committed.
            self._runtime.look_again()

    async def _check(self) -> None:
        """Before anything is changed: a run for a handler that is nowhere would wait for ever."""
        handler, known = self._criteria.handler, self._known_handlers
        if handler is not None and known and handler not in known:
            raise ConfigurationError(f"there is no handler {handler!r} here; there are: {', '.join(known)}")
        unknown = await replaying.missing(self._database, self._criteria.record_ids or ())
        if unknown:
            raise RecordNotFound(f"there is no record {', '.join(map(str, unknown[:_NAMED]))}")
