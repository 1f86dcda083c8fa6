"""Sending what was named to MoRAG, several at once; what becomes of one does not stop the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from morag_client.cli.clients import said
from morag_client.cli.sources import Source
from morag_client.cli.transfers import Transfers
from morag_client.errors import ApiError, Forbidden, Gone, MoragError, NotSupported, Unauthorized, Unreachable

if TYPE_CHECKING:
    from morag_client.api.async_client import AsyncMoragClient
    from morag_client.api.models import Submission

Word = Literal["taken", "refused", "unsent", "interrupted"]

_SAME_FOR_ALL: Final = (Unauthorized, Forbidden, Gone, NotSupported)
"""What the next file would be answered, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is said with each document; `webhook_url` makes a URL of its own for each, or none."""

    webhook_url: Callable[[], str | None] = field(repr=False)
    metadata: Mapping[str, str] | None = None
    document_id: str | None = None
    source_type: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one: `taken` with a task's id, else with a reason.

    `refused` is also what cannot be read, `unsent` what was not tried any more, `interrupted` what was under way.
    """

    name: str
    word: Word
    task_id: str | None = None
    why: str | None = None


class Uploading:
    """Submits sources; `tell` hears of each outcome, `broke_off` is why the rest was not tried."""

    def __init__(
        self, client: AsyncMoragClient, order: Order, transfers: Transfers, *, tell: Callable[[Outcome], None]
    ) -> None:
        self._client = client
        self._order = order
        self._transfers = transfers
        self._tell = tell
        self.broke_off: str | None = None

    async def run(self, sources: Iterable[Source], *, concurrency: int) -> None:
        """Submits them all, so many at once. Each is told of, also where this is cancelled."""
        left = iter(sources)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(concurrency):
                    group.create_task(self._work(left))
        finally:
            for source in left:
                self._tell(Outcome(source.name, "unsent", why=self.broke_off or "interrupted before its turn"))

    async def _work(self, left: Iterator[Source]) -> None:
        while self.broke_off is None and (source := next(left, None)) is not None:
            self._tell(await self._submit(source))

    async def _submit(self, source: Source) -> Outcome:
        transfer = self._transfers.begin(source.name, source.size)
        try:
            submission = await self._sent(source, transfer.on_progress)
        except asyncio.CancelledError:
            why = (
                "interrupted; MoRAG may have taken it all the same" if transfer.done >= transfer.size else "interrupted"
            )
            self._tell(Outcome(source.name, "interrupted", why=why))
            raise
        except (MoragError, OSError) as error:
            if _is_same_for_all(error):
                self.broke_off = said(error)
            return Outcome(source.name, "refused", why=said(error))
        finally:
            self._transfers.end(transfer, expected=source.size)
        return Outcome(source.name, "taken", task_id=submission.task_id)

    async def _sent(self, source: Source, on_progress: Callable[[int, int], None]) -> Submission:
        order = self._order
        url = order.webhook_url()
        if source.path is None:
            return await self._client.ingest_url(
                source.name,
                webhook_url=url,
                metadata=order.metadata,
                source_type=order.source_type,
                document_id=order.document_id,
            )
        return await self._client.ingest_file(
            source.path,
            webhook_url=url,
            metadata=order.metadata,
            source_type=order.source_type,
            document_id=order.document_id,
            on_progress=on_progress,
        )


def _is_same_for_all(error: Exception) -> bool:
    if isinstance(error, Unreachable):
        return error.is_unsent
    return isinstance(error, _SAME_FOR_ALL) and isinstance(error, ApiError)
