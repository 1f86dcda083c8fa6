"""Watching tasks to their ends: by which way, what is said meanwhile, and what at the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

import typer

from morag_client.cli.clients import INTERRUPTED, asked, client_of, line_of, run, said
from morag_client.cli.discovering import discover
from morag_client.cli.following import ByAsking, ByInbox, Followed, Ways, finish, has_ended
from morag_client.cli.inboxes import opened_inbox, printable
from morag_client.cli.screens import Screen
from morag_client.cli.task_bars import TaskBars, counts
from morag_client.cli.tasks import as_object, duration
from morag_client.errors import ApiError, NotFound, NotSupported
from morag_client.progress.state import TaskState
from morag_client.progress.tasks import TaskQueries

_STRIDE: Final = 10.0
_NAMED: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where tasks are looked for, as the command line says."""

    database_url: str | None
    api_url: str | None
    api_version: str

    @property
    def is_inbox(self) -> bool:
        return bool(self.database_url or os.environ.get("MORAG_DATABASE_URL"))

    @property
    def options(self) -> str:
        """What another command needs to find the same."""
        stated = (("--database-url", self.database_url), ("--api-url", self.api_url))
        more = "" if self.api_version == "auto" else f" --api-version {self.api_version}"
        return "".join(f" {option} {value}" for option, value in stated if value) + more

    @contextlib.asynccontextmanager
    async def ways(self) -> AsyncIterator[Ways]:
        """How tasks are followed. Raises ConfigurationError, InboxUnavailable and, where it is asked, ApiError."""
        if self.is_inbox:
            async with client_of(self.api_url, self.api_version) as client, opened_inbox(self.database_url) as inbox:
                yield ByInbox(TaskQueries(inbox), client)
            return
        async with asked(self.api_url, self.api_version) as driver:
            ways = ByAsking(driver)
            # Before anything is drawn: what is wrong with all questions shows with this one.
            await ways.active_tasks()
            yield ways


class Watch:
    """Follows tasks and says what becomes of them."""

    def __init__(self, place: Place, *, as_json: bool) -> None:
        self._place = place
        self._as_json = as_json
        self._followed: Followed | None = None

    def run(self, task_ids: Sequence[str], *, everything: bool, timeout: float | None) -> None:
        """Follows them. Raises typer.Exit: 1 where not all completed in time, 130 after Ctrl-C; as `Place.ways`."""
        is_late = False
        try:
            run(self._follow(task_ids, everything=everything, timeout=timeout))
        except KeyboardInterrupt:
            interrupted([] if self._followed is None else self._followed.open, self._place)
        except TimeoutError:
            is_late = True
        except ApiError as error:
            typer.echo(f"error: {reason(error)}", err=True)
            raise typer.Exit(1) from None
        if self._followed is not None:
            conclude(self._followed, self._place, timeout=timeout if is_late else None)

    async def _follow(self, task_ids: Sequence[str], *, everything: bool, timeout: float | None) -> None:  # noqa: ASYNC109  # as it was said
        async with self._place.ways() as ways:
            followed = self._followed = Followed(ways)
            with Screen(TaskBars(followed).lines) as screen:
                followed.tell = Report(screen, followed, as_json=self._as_json, changes=True).changed
                async with asyncio.timeout(timeout):
                    await finish(_all(followed, ways, task_ids, everything=everything))


async def _all(followed: Followed, ways: Ways, task_ids: Sequence[str], *, everything: bool) -> None:
    async with asyncio.TaskGroup() as group:
        for task_id in task_ids:
            followed.add(task_id, task_id, group)
        if everything:
            async for task_id in discover(ways):
                followed.add(task_id, task_id, group)


class Report:
    """Says what becomes of tasks: each change for machines (`changes`) and where there are no bars, else the ends."""

    def __init__(self, screen: Screen, followed: Followed, *, as_json: bool, changes: bool) -> None:
        self._screen = screen
        self._followed = followed
        self._as_json = as_json
        self._changes = changes
        self._said: dict[str, tuple[object, float]] = {}

    def changed(self, task_id: str, state: TaskState, _before: TaskState | None) -> None:
        """A task has changed."""
        name = self._followed.names[task_id]
        if self._as_json:
            if self._changes or has_ended(state):
                self._screen.say(line_of(as_object(state) | {"file": None if name == task_id else name}))
        elif has_ended(state):
            self._screen.say(ended(task_id, name, state))
        elif not self._screen.moves and self._is_news(task_id, state):
            at = state.step or state.stage or state.message or ""
            self._screen.note(printable(f"{state.state:<10} {_called(task_id, name)}  {state.progress:.0f} %  {at}"))

    def _is_news(self, task_id: str, state: TaskState) -> bool:
        where, progress = self._said.get(task_id, (None, 0.0))
        now = (state.state, state.step, state.stage)
        if where == now and state.progress < progress + _STRIDE:
            return False
        self._said[task_id] = (now, state.progress)
        return True


def ended(task_id: str, name: str, state: TaskState) -> str:
    """How a task ended, in a line."""
    took = f"  {duration(state.seconds)}" if state.seconds is not None else ""
    error = f"  {state.error}" if state.error and state.state != "completed" else ""
    return printable(f"{state.state:<10} {_called(task_id, name)}{took}{error}")


def conclude(followed: Followed, place: Place, *, timeout: float | None) -> None:
    """What is said at the end; with `timeout`, it came too soon. Raises typer.Exit (1) where not all completed."""
    for task_id, why in followed.unknown.items():
        typer.echo(f"error: {printable(task_id)}: {said(NotFound(why))}", err=True)
    if len(followed.names) > 1:
        typer.echo(counts(followed), err=True)
    if timeout is not None and followed.open:
        left = followed.open
        noun = "task has" if len(left) == 1 else "tasks have"
        typer.echo(f"error: {len(left):,} {noun} not ended within {timeout:g} s. {_going_on(left, place)}", err=True)
    if any(followed.is_open(task_id) or not _is_well(followed, task_id) for task_id in followed.names):
        raise typer.Exit(1)


def interrupted(left: Sequence[str], place: Place) -> NoReturn:
    """What is said after Ctrl-C, of the tasks that go on. Raises typer.Exit (130)."""
    typer.echo(f"interrupted. {_going_on(left, place)}" if left else "interrupted", err=True)
    raise typer.Exit(INTERRUPTED)


def reason(error: ApiError) -> str:
    """Why tasks cannot be followed, and what would help."""
    if isinstance(error, NotSupported):
        return (
            "this release of MoRAG cannot be asked how tasks stand (r3 has no call for it): name the inbox of the"
            " receiver that its webhooks go to, with --database-url"
        )
    return said(error)


def _going_on(left: Sequence[str], place: Place) -> str:
    ids = " ".join(map(printable, left[:_NAMED]))
    more = f" and {len(left) - _NAMED:,} more" if len(left) > _NAMED else ""
    it = "It goes on" if len(left) == 1 else "They go on"
    return f"{it} at MoRAG; to see how: morag-client watch {ids}{place.options}{more}"


def _is_well(followed: Followed, task_id: str) -> bool:
    state = followed.states.get(task_id)
    return state is not None and state.state == "completed"


def _called(task_id: str, name: str) -> str:
    return task_id if name == task_id else f"{task_id}  {name}"
