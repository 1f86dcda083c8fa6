"""A run of submissions: uploads and, if they are waited for, tasks; what is drawn, and what is said of them."""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Final

import typer
from rich.text import Text

from morag_client.api.async_client import AsyncMoragClient
from morag_client.cli.clients import client_of, line_of, run, said
from morag_client.cli.following import Followed, Ways, finish
from morag_client.cli.inboxes import printable
from morag_client.cli.screens import Screen
from morag_client.cli.sources import Source, Unfit
from morag_client.cli.task_bars import TaskBars
from morag_client.cli.transfers import Transfers
from morag_client.cli.uploading import Order, Outcome, Uploading
from morag_client.cli.watches import Place, Report, conclude, interrupted
from morag_client.config import Settings
from morag_client.errors import ApiError, MoragWarning, NotSupported
from morag_client.receiver.webhook_urls import make_url, warn_of_refusal

_REASONS: Final = 20
_NO_TASKS: Final = (
    "this MoRAG is of release r3, which has no tasks to submit documents as: run its stages, with client.stages in"
    " Python"
)


def webhook_maker(url: str | None, correlation: Mapping[str, str]) -> Callable[[], str | None]:
    """What makes the webhook's URL for each document. Raises ConfigurationError where one cannot be signed."""
    if url is not None:
        return lambda: url
    settings = Settings.load()
    if not correlation and (settings.signing_key is None or settings.public_url is None):
        return lambda: None
    make_url(settings, correlation, max_age=None)  # what cannot be is said before anything is sent
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", MoragWarning)
        warn_of_refusal(settings, stacklevel=1)
    for warning in caught:
        typer.echo(f"warning: {warning.message}", err=True)
    return lambda: make_url(settings, correlation, max_age=None)


class Submission:
    """Submits what was named and says what became of it; with `waits`, up to the ends of the tasks."""

    def __init__(self, place: Place, order: Order, *, as_json: bool, waits: bool) -> None:
        self._place = place
        self._order = order
        self._as_json = as_json
        self._waits = waits
        self._outcomes: list[Outcome] = []
        self._followed: Followed | None = None
        self._broke_off: str | None = None

    def run(
        self, sources: Sequence[Source], unfit: Sequence[Unfit], *, concurrency: int, timeout: float | None
    ) -> None:
        """Runs it. Raises typer.Exit: 1 where one was not taken or did not complete, 130 after Ctrl-C."""
        is_interrupted = is_late = False
        try:
            run(self._go(sources, unfit, concurrency=concurrency, timeout=timeout))
        except KeyboardInterrupt:
            is_interrupted = True
        except TimeoutError:
            is_late = True
        except ApiError as error:
            typer.echo(f"error: {said(error)}", err=True)
            self._none_sent(sources, why=said(error))
            raise typer.Exit(1) from None
        if self._outcomes:
            self._sum_up()
        if is_interrupted:
            self._interrupted()
        if self._followed is not None:
            conclude(self._followed, self._place, timeout=timeout if is_late else None)
        if any(outcome.word != "taken" for outcome in self._outcomes):
            raise typer.Exit(1)

    def _none_sent(self, sources: Sequence[Source], *, why: str) -> None:
        """For machines, which have a line for each document however it ends."""
        if self._as_json and not self._outcomes:
            for source in sources:
                typer.echo(line_of({"file": source.name, "outcome": "unsent", "task_id": None, "error": why}))

    async def _go(
        self,
        sources: Sequence[Source],
        unfit: Sequence[Unfit],
        *,
        concurrency: int,
        timeout: float | None,  # noqa: ASYNC109  # as it was said
    ) -> None:
        transfers = Transfers("submitted", len(sources), sum(source.size for source in sources))
        async with self._client(needed=bool(sources)) as client, self._ways() as ways:
            followed = None if ways is None else Followed(ways)
            self._followed = followed
            bars = None if followed is None else TaskBars(followed)
            with Screen(lambda *size: _lines(transfers, bars, *size)) as screen:
                if followed is not None:
                    followed.tell = Report(screen, followed, as_json=self._as_json, changes=False).changed
                await finish(self._all(client, sources, unfit, transfers, screen, concurrency, timeout))

    async def _all(
        self,
        client: AsyncMoragClient,
        sources: Sequence[Source],
        unfit: Sequence[Unfit],
        transfers: Transfers,
        screen: Screen,
        concurrency: int,
        timeout: float | None,  # noqa: ASYNC109  # as it was said
    ) -> None:
        for thing in unfit:
            self._tell(Outcome(thing.name, "refused", why=thing.why), screen)
        # Not a TaskGroup of its own for the timeout's sake: it begins when the last is taken.
        async with asyncio.TaskGroup() as group:

            def tell(outcome: Outcome) -> None:
                self._tell(outcome, screen)
                if self._followed is not None and outcome.task_id is not None:
                    self._followed.add(outcome.task_id, outcome.name, group)

            uploading = Uploading(client, self._order, transfers, tell=tell)
            await uploading.run(sources, concurrency=concurrency)
            self._broke_off = uploading.broke_off
            if self._followed is not None:
                async with asyncio.timeout(timeout):
                    await self._followed.ends()

    @contextlib.asynccontextmanager
    async def _client(self, *, needed: bool) -> AsyncIterator[AsyncMoragClient]:
        """A client of a MoRAG that takes documents. Raises ApiError where it does not, or is not there."""
        async with client_of(self._place.api_url, self._place.api_version) as client:
            if needed and await client.release() == "r3":
                raise NotSupported(_NO_TASKS)
            yield client

    @contextlib.asynccontextmanager
    async def _ways(self) -> AsyncIterator[Ways | None]:
        if not self._waits:
            yield None
            return
        async with self._place.ways() as ways:
            yield ways

    def _tell(self, outcome: Outcome, screen: Screen) -> None:
        self._outcomes.append(outcome)
        if self._as_json:
            fields = {"file": outcome.name, "outcome": outcome.word, "task_id": outcome.task_id, "error": outcome.why}
            screen.say(line_of(fields))
        elif outcome.task_id is not None:
            screen.say(printable(f"submitted  {outcome.task_id}  {outcome.name}"))
        elif outcome.word == "refused":
            screen.note(printable(f"error: {outcome.name}: {outcome.why}"))

    def _sum_up(self) -> None:
        taken = sum(outcome.word == "taken" for outcome in self._outcomes)
        failed = [outcome for outcome in self._outcomes if outcome.word == "refused"]
        unsent = [outcome for outcome in self._outcomes if outcome.word in {"unsent", "interrupted"}]
        if len(self._outcomes) == 1 and not unsent:
            return
        more = [f"{len(group):,} {word}" for word, group in (("failed", failed), ("not sent", unsent)) if group]
        typer.echo(f"{taken:,} of {len(self._outcomes):,} were taken" + "".join(f", {part}" for part in more), err=True)
        for outcome in failed[:_REASONS]:
            typer.echo(printable(f"  {outcome.name}: {outcome.why}"), err=True)
        if len(failed) > _REASONS:
            typer.echo(f"  and {len(failed) - _REASONS:,} more", err=True)
        for outcome in unsent:
            if outcome.word == "interrupted":
                typer.echo(printable(f"  {outcome.name}: {outcome.why}"), err=True)

    def _interrupted(self) -> None:
        taken = [outcome.task_id for outcome in self._outcomes if outcome.task_id is not None]
        interrupted(taken if self._followed is None else self._followed.open, self._place)


def _lines(transfers: Transfers, bars: TaskBars | None, width: int, height: int, is_ascii: bool) -> Iterator[Text]:
    """The uploads, and below them the tasks, in what room is left."""
    used = 0
    if not transfers.is_over:
        room = height if bars is None else max(height // 2, 2)
        for line in transfers.lines(width, room, is_ascii):
            used += 1
            yield line
    if bars is not None:
        yield from bars.lines(width, max(height - used, 2), is_ascii)
