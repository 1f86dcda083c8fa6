"""Who let what happen again, and why, as an application sees it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from morag_client.inbox import audit
from morag_client.inbox.audit import AuditEntry
from morag_client.receiver.lifecycle import Lifecycle


class Audit:
    """What people did to what is stored: `receiver.audit`. Raises InboxUnavailable."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle

    async def list(self, *, limit: int = 50) -> Sequence[AuditEntry]:
        """The newest entries, newest first; one for each thing that somebody asked for and that changed something."""
        inbox = (await self._lifecycle.runtime()).inbox
        newest = partial(audit.newest, tables=inbox.database.tables, limit=limit)
        return await inbox.database.read(newest, patience=inbox.patience)
