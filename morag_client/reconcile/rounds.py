"""Asking again and again while a receiver runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from morag_client.errors import InboxError
from morag_client.inbox.database import DriverError
from morag_client.reconcile.reconciler import Reconciler
from morag_client.reconcile.report import Report
from morag_client.reconcile.round import Wanted

_SOON: Final = 5.0
"""Seconds after the start: what an outage has cost is seen soon, and the engine has numbered what it found."""
_LONGEST_PAUSE: Final = 3600.0

logger = logging.getLogger("morag_client.reconcile")


class Rounds:
    """A round every `interval` seconds, a half more or less by `random()` (0 to 1), in one process of all.

    Trouble is told once, and makes the pauses longer until it is over. Where MoRAG has nothing to be asked (r3), that
    is told, and it rests.
    """

    def __init__(self, reconciler: Reconciler, wanted: Wanted, *, interval: float, random: Callable[[], float]) -> None:
        self._reconciler = reconciler
        self._wanted = wanted
        self._interval = interval
        self._random = random
        self._failures = 0
        self._has_stumbled = False
        self._working: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins, soon."""
        self._working = asyncio.create_task(self._work(), name="morag-reconcile")

    async def stop(self) -> None:
        """Asks no more; what was under way is left."""
        working, self._working = self._working, None
        if working is not None:
            if not working.cancelling():
                working.cancel()
            await asyncio.wait([working])

    async def _work(self) -> None:
        pause = min(self._interval, _SOON)
        await self._begin()
        while True:
            await asyncio.sleep(pause * (0.5 + self._random()))
            try:
                report = await self._reconciler.run_if_due(self._wanted, every=self._interval / 2)
            except (DriverError, InboxError, OSError) as error:
                pause = self._after_trouble(f"the inbox does not answer: {error}")
            except Exception:  # rounds that ended silently would be worse than any of them
                logger.exception("a round of reconciling failed")
                pause = self._after_trouble(None)
            else:
                if report is not None and not report.is_supported:
                    logger.info("this release of MoRAG has no status API: there is nothing to ask, and nobody asks")
                    return
                pause = self._interval if report is None else self._after(report)

    async def _begin(self) -> None:
        """Marks the moment from which on what MoRAG lists may be ours."""
        try:
            await self._reconciler.begin()
        except (DriverError, InboxError, OSError):
            pass  # the first round does it

    def _after(self, report: Report) -> float:
        if report.made:
            made = ", ".join(f"{number} {name}" for name, number in report.made.items())
            logger.info("tasks that MoRAG was asked about: %d; events that were made: %s", report.asked, made)
        if report.errors and (report.is_broken_off or not report.asked):
            return max(self._after_trouble(f"MoRAG could not be asked: {report.errors[0]}"), report.wait or 0.0)
        if self._failures:
            logger.info("MoRAG can be asked again")
        self._failures = 0
        if report.errors and not self._has_stumbled:
            logger.warning("MoRAG could not say how every task stands: %s", report.errors[0])
        self._has_stumbled = bool(report.errors)
        return self._interval

    def _after_trouble(self, what: str | None) -> float:
        """The pause after a failed round; the first failure in succession is told."""
        if not self._failures and what is not None:
            logger.warning("%s; it is tried again, more and more rarely", what)
        self._failures += 1
        longest = max(self._interval, _LONGEST_PAUSE)
        return float(min(self._interval * 2 ** min(self._failures, 16), longest))
