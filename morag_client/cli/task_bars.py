"""Tasks as bars: how far each is, segmented by its steps, and what it is at."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from rich.text import Text

from morag_client.cli.following import Followed, has_ended
from morag_client.cli.inboxes import printable
from morag_client.cli.screens import bar, fitted
from morag_client.cli.tasks import duration
from morag_client.progress.state import StepState, TaskState

_FIXED: Final = 25
"""What a line takes beside its name, its bar and what the task is at: a mark, percent, seconds."""
_FEW: Final = 3
"""Of so many tasks at most, each step has a line of its own."""

_STYLES: Final = {"completed": "green", "failed": "red", "cancelled": "yellow", "lost": "red"}
_MARKS: Final = {"completed": "✓", "failed": "✗", "cancelled": "✗", "lost": "?", "started": "•", "running": "•"}
_PLAIN: Final = {"✓": "+", "✗": "x", "•": "*"}


class TaskBars:
    """Draws the tasks of a run; it looks at the clock for how long they have been followed."""

    def __init__(self, followed: Followed, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._followed = followed
        self._clock = clock
        self._since: dict[str, float] = {}
        self._until: dict[str, float] = {}

    def lines(self, width: int, height: int, is_ascii: bool) -> Iterator[Text]:
        """Those under way, as far as there is room; of few tasks all, with their steps below."""
        names, states = dict(self._followed.names), dict(self._followed.states)
        going = [task_id for task_id in names if self._followed.is_open(task_id)]
        has_steps = len(names) <= _FEW
        # How others ended stands above, in a line for each.
        order = list(names) if has_steps else going
        drawn = 0
        for task_id in order[: max(height - 1, 1)]:
            state = states.get(task_id)
            drawn += 1
            yield self._line(task_id, names[task_id], state, width, is_ascii=is_ascii)
            if has_steps and state is not None and drawn + len(state.steps) < height:
                drawn += len(state.steps)
                yield from (_step(name, step, is_ascii=is_ascii) for name, step in _in_order(state.steps))
        if not names:
            yield Text("  No task is under way; Ctrl-C ends this.", "bright_black")
        if len(names) > _FEW:
            yield Text("  " + counts(self._followed), "bold")

    def _line(self, task_id: str, name: str, state: TaskState | None, width: int, *, is_ascii: bool) -> Text:
        known = "" if state is None else state.state
        mark = _MARKS.get(known, " ")
        free = max(width - _FIXED, 36)
        wide, cells = free * 4 // 10, free * 3 // 10
        line = Text("  " + (_PLAIN.get(mark, mark) if is_ascii else mark) + " ", _STYLES.get(known, "cyan"))
        line.append(fitted(name, wide, is_ascii=is_ascii) + " ", "default")
        line.append(bar([] if state is None else segments(state), cells, is_ascii=is_ascii))
        percent = "    " if state is None else f"{state.progress:3.0f} %"
        line.append(f" {percent} {self._seconds(task_id, state):>9}  ", "default")
        return line.append(_at(state), _STYLES.get(known, "default"))

    def _seconds(self, task_id: str, state: TaskState | None) -> str:
        now = self._clock()
        since = self._since.setdefault(task_id, now)
        if state is not None and has_ended(state):
            now = self._until.setdefault(task_id, now)
            return duration(state.seconds if state.seconds is not None else now - since)
        return duration(now - since) if now - since >= 1 else ""


def segments(state: TaskState) -> list[tuple[float, str]]:
    """The shares of a bar: what is done, divided among the steps that were seen, each in the style of its status."""
    share = min(max(state.progress / 100, 0.0), 1.0)
    if not state.steps:
        return [(share, _STYLES.get(state.state, "cyan"))]
    each = share / len(state.steps)
    green = ("green", "bright_green")
    styles = [
        green[place % 2] if step.status == "completed" else "red" if step.status == "failed" else "cyan"
        for place, (_, step) in enumerate(_in_order(state.steps))
    ]
    return [(each, style) for style in styles]


def counts(followed: Followed) -> str:
    """How many have ended how, and how many are under way."""
    found: dict[str, int] = {}
    for task_id in list(followed.names):
        state = followed.states.get(task_id)
        ended = state is not None and has_ended(state)
        word = "unknown" if task_id in followed.unknown else state.state if state and ended else "under way"
        found[word] = found.get(word, 0) + 1
    order = ("completed", "failed", "cancelled", "lost", "unknown", "under way")
    said = ", ".join(f"{found[word]:,} {word}" for word in order if word in found)
    return f"{len(followed.names):,} tasks: {said}"


def _step(name: str, step: StepState, *, is_ascii: bool) -> Text:
    mark = _MARKS.get(step.status, " ")
    style = "green" if step.status == "completed" else "red" if step.status == "failed" else "cyan"
    line = Text("      ").append(_PLAIN.get(mark, mark) if is_ascii else mark, style)
    took = duration(step.seconds) if step.status == "completed" else step.status
    return line.append(f" {fitted(name, 24, is_ascii=is_ascii)} {took}", "bright_black")


def _in_order(steps: Mapping[str, StepState]) -> list[tuple[str, StepState]]:
    """By when they began, as far as that is known, else as they came."""
    return sorted(
        steps.items(),
        key=lambda item: (moment := item[1].started_at or item[1].finished_at) is not None and moment.timestamp(),
    )


def _at(state: TaskState | None) -> str:
    if state is None:
        return "no word of it yet"
    if has_ended(state):
        return printable(state.error or "") if state.state != "completed" and state.error else state.state
    return printable(state.step or state.stage or state.message or state.state)
