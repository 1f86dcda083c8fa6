"""One round: asking MoRAG about silent tasks, and storing the events that fill the gaps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from morag_client.errors import ApiError, DeliveryRejected, NotSupported
from morag_client.inbox import audit
from morag_client.inbox.inbox import Inbox
from morag_client.inbox.lanes import Claimable
from morag_client.inbox.leases import Held
from morag_client.inbox.made_rows import made_row
from morag_client.inbox.rows import EventRow
from morag_client.processing.work import Work
from morag_client.progress.state import TaskState, fresh
from morag_client.reconcile.asking import Asked, ends_round, standing_of_task
from morag_client.reconcile.candidates import Silence, candidates
from morag_client.reconcile.deciding import event_of
from morag_client.reconcile.finding import Adopts, find
from morag_client.reconcile.patience import Patience
from morag_client.reconcile.report import Report
from morag_client.wire.answer import Answered, read_answered
from morag_client.wire.decoding import decode_object

_AT_ONCE: Final = 4
_FAILURES: Final = 10
"""Questions in succession that MoRAG fails to answer, after which it is left alone."""
_SHOWN: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a round is for: tasks that were silent for so long and heard of within `within` (None: whenever).

    `adopts` says which tasks count as ours that no webhook told of, None: none; they have begun within `found_within`,
    None: since this inbox was first reconciled. Nothing is stored with `dry_run`.
    """

    silent_for: timedelta = timedelta(0)
    within: timedelta | None = None
    adopts: Adopts | None = None
    found_within: timedelta | None = None
    dry_run: bool = False
    who: str = "application"
    why: str | None = None


class Round:
    """One round, from what is known to what was made."""

    def __init__(self, inbox: Inbox, client: Asked, wanted: Wanted, *, held: Held, patience: Patience) -> None:
        self._inbox = inbox
        self._client = client
        self._wanted = wanted
        self._held = held
        self._patience = patience
        self._report = Report()
        self._failures = 0
        self._asked: set[str] = set()

    async def run(self, *, now: datetime, on_progress: Callable[[int, int], None], all_at_once: bool) -> Report:
        report, wanted = self._report, self._wanted
        silence = Silence(now - wanted.silent_for, None if wanted.within is None else now - wanted.within)
        found = await candidates(self._inbox, silence, now=now)
        report.silent_without_id = found.without_id
        due = self._patience.due(found.tasks, now=now)
        in_turn = [key for key in self._patience.in_turn(found.tasks) if all_at_once or key in due]
        # By key: of two tenants, each may have a task of one id.
        tasks = {key: found.tasks[key] for key in in_turn}
        strangers = await self._find(tasks, now=now)
        await self._ask_all([*tasks.values(), *strangers], strangers, now=now, on_progress=on_progress)
        asked = [key for key, task in found.tasks.items() if task.task_id in self._asked]
        self._patience.asked(asked, silent=found.tasks, now=now)
        if not wanted.dry_run and report.made:
            await self._note()
        return report

    async def _find(self, tasks: dict[bytes, TaskState], *, now: datetime) -> list[TaskState]:
        """Adds what MoRAG lists as having happened lately, and returns those tasks of which nothing is known."""
        if self._wanted.adopts is None:
            return []
        try:
            found = await find(self._client, self._inbox, self._wanted.adopts, since=self._since(now), now=now)
        except ApiError as error:
            self._failed(error, "what happened lately")
            return []
        self._report.limits += found.limits
        for key, task in found.known.items():
            tasks.setdefault(key, task)
        return [fresh(task_id, "") for task_id in found.strangers]

    def _since(self, now: datetime) -> datetime:
        """Tasks from before anybody asked here may be somebody else's."""
        within = self._wanted.found_within
        return self._held.since if within is None else now - within

    async def _ask_all(
        self,
        tasks: list[TaskState],
        strangers: Iterable[TaskState],
        *,
        now: datetime,
        on_progress: Callable[[int, int], None],
    ) -> None:
        waiting, total, unknown_here = iter(tasks), len(tasks), {task.task_id for task in strangers}
        done = 0

        async def ask_on() -> None:
            nonlocal done
            for task in waiting:
                if self._report.is_broken_off:
                    self._report.left += 1
                else:
                    await self._ask(task, is_stranger=task.task_id in unknown_here, now=now)
                done += 1
                on_progress(done, total)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(_AT_ONCE, total)):
                    group.create_task(ask_on())
        except ExceptionGroup as errors:  # the inbox is away for all of them
            raise errors.exceptions[0] from None

    async def _ask(self, task: TaskState, *, is_stranger: bool, now: datetime) -> None:
        assert task.task_id is not None  # noqa: S101  # those without one are not asked about
        try:
            said = await standing_of_task(self._client, task.task_id)
        except ApiError as error:
            self._failed(error, f"task {task.task_id}", is_told=self._report.is_broken_off and ends_round(error))
            self._report.left += 1
            if not ends_round(error):
                # One that MoRAG stumbles over must not keep the others from being asked about, round after round.
                self._asked.add(task.task_id)
            return
        self._asked.add(task.task_id)
        self._failures = 0
        report = self._report
        report.asked += 1
        report.running += said.standing == "running"
        report.unknown += said.standing == "unknown"
        answered = event_of(task, said, now=now)
        if answered is not None and (self._wanted.dry_run or await self._store(answered, task, now=now)):
            report.made[answered.name] += 1
            report.found += is_stranger
        else:
            report.unchanged += said.standing not in {"running", "unknown"}

    async def _store(self, answered: Answered, task: TaskState, *, now: datetime) -> bool:
        """Whether it was new: another process may have made the same."""
        row = made_row(answered, tenant=task.tenant, received_at=now)
        try:
            return (await self._inbox.store(row, partial(_work, row))).is_new
        except DeliveryRejected as refused:
            self._report.errors.append(f"task {task.task_id}: {refused}")
            return False

    def _failed(self, error: ApiError, what: str, *, is_told: bool = False) -> None:
        """What cannot be answered, and why; `is_told` where others under way have met the same end."""
        self._failures += 1
        if isinstance(error, NotSupported):
            self._report.is_supported = False
        self._report.is_broken_off = self._report.is_broken_off or ends_round(error) or self._failures >= _FAILURES
        self._report.wait = max(self._report.wait or 0.0, error.retry_after or 0.0) or None
        if len(self._report.errors) < _SHOWN and not is_told:
            self._report.errors.append(f"{what}: {error}")

    async def _note(self) -> None:
        criteria: dict[str, Any] = {"silent_for": self._wanted.silent_for.total_seconds(), "made": self._report.made}
        if self._wanted.within is not None:
            criteria["within"] = self._wanted.within.total_seconds()
        note = partial(
            audit.note,
            tables=self._inbox.database.tables,
            action="reconcile",
            who=self._wanted.who,
            why=self._wanted.why,
            criteria=criteria,
            affected=self._report.made.total(),
        )
        await self._inbox.database.write(note)


def _work(row: EventRow, record_id: int) -> Work:
    """What the engine gets of a made record, once it has an id."""
    reading = read_answered(decode_object(row.body))
    return Work(Claimable(record_id, row.task_key, row.task_id, row.tenant), reading, row.body, row.received_at)
