"""Putting deliveries into quarantine, for as long as there is room."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from sqlalchemy import func, select, update
from sqlalchemy.engine import Connection

from morag_client.inbox.database import Database
from morag_client.inbox.rows import QuarantineRow

_MEASURED_SECONDS: Final = 1.0
_FULL_SECONDS: Final = 0.1
"""So long it is believed how full it is; less where it is full, since somebody may have acted."""
_SILENT_SECONDS: Final = 60.0

logger = logging.getLogger("morag_client.inbox")


@dataclass(frozen=True, slots=True)
class QuarantineLimits:
    """How many deliveries are kept, and how many bytes of their bodies."""

    deliveries: int = 10_000
    bytes: int = 256 * 1024 * 1024


class Quarantining:
    """Keeps deliveries, each once however often it is repeated; what does not fit is only counted and complained of.

    How full it is is measured at most once a second, and counted in between: several processes can exceed the limits
    by what they keep in a second.
    """

    def __init__(
        self, database: Database, limits: QuarantineLimits, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._limits = limits
        self._clock = clock
        self._deliveries = self._bytes = 0
        self._measured_at = self._complained_at = -math.inf
        self._complained_of = 0
        self.turned_away = 0
        """How many deliveries were not kept by this process."""

    async def keep(self, row: QuarantineRow, *, patience: float) -> bool:
        """Whether the delivery is kept. Raises InboxUnavailable."""
        is_kept = await self._database.write(partial(self._keep, row=row), patience=patience)
        if not is_kept:
            self.turned_away += 1
            self._complain()
        return is_kept

    def _keep(self, connection: Connection, *, row: QuarantineRow) -> bool:
        table = self._database.tables.quarantine
        once_more = {"repeats": table.c.repeats + 1}
        if not self._has_room(connection, len(row.body)):
            return (
                connection.execute(update(table).where(table.c.identity == row.identity).values(once_more)).rowcount > 0
            )
        statement = self._database.insert(table).values(row._asdict())
        upsert = statement.on_conflict_do_update(index_elements=[table.c.identity], set_=once_more)
        if connection.execute(upsert.returning(table.c.repeats)).scalar_one() == 0:
            self._deliveries += 1
            self._bytes += len(row.body)
        return True

    def _has_room(self, connection: Connection, size: int) -> bool:
        if not self._fits(size):
            self._measure(connection, at_most_every=_FULL_SECONDS)
        else:
            self._measure(connection, at_most_every=_MEASURED_SECONDS)
        return self._fits(size)

    def _fits(self, size: int) -> bool:
        return self._deliveries < self._limits.deliveries and self._bytes + size <= self._limits.bytes

    def _measure(self, connection: Connection, *, at_most_every: float) -> None:
        if self._clock() - self._measured_at < at_most_every:
            return
        table = self._database.tables.quarantine
        size = func.coalesce(func.sum(func.length(table.c.body)), 0)
        self._deliveries, self._bytes = connection.execute(select(func.count(), size).select_from(table)).one()
        self._measured_at = self._clock()

    def _complain(self) -> None:
        """At most once a minute: a sender that is broken does not stop."""
        if self._clock() - self._complained_at < _SILENT_SECONDS:
            return
        logger.error(
            "the quarantine is full (%d deliveries, %d bytes): %d more were refused and are not kept anywhere; look at"
            " it with `morag-client quarantine list`, and retry or discard what is in it",
            self._deliveries,
            self._bytes,
            self.turned_away - self._complained_of,
        )
        self._complained_at, self._complained_of = self._clock(), self.turned_away
