"""How the demo shows a task: bars that grow where the terminal can move its cursor, plain lines where it cannot."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Table
from rich.text import Text

from morag_client.cli.demo.handlers import Note
from morag_client.events.names import STEPS
from morag_client.events.types import Event


class Screen(Protocol):
    """Shows events and notes as they come."""

    def show(self, event: Event) -> None: ...

    def note(self, note: Note) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def screen_for(console: Console) -> Screen:
    """Bars where the terminal can move its cursor, else plain lines."""
    moves = console.is_terminal and not console.is_dumb_terminal
    return _Bars(console) if moves else Lines(console)


class Lines:
    """One line for each event and note."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def show(self, event: Event) -> None:
        progress = "" if event.progress is None else f"{event.progress:.0f} %"
        self._console.print(Text.assemble((f"{progress:>7}  ", "dim"), event.name), soft_wrap=True)

    def note(self, note: Note) -> None:
        self._console.print(Text.assemble(_handler(note), " ", note.text), soft_wrap=True)

    def __enter__(self) -> Self:
        self._console.print()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class _Bars:
    """A bar for each step and one for the task; notes scroll above them."""

    def __init__(self, console: Console) -> None:
        self._progress = _Apart(
            TextColumn("  {task.fields[mark]} {task.description:<20}"),
            BarColumn(bar_width=32),
            TextColumn("{task.fields[state]:>6}"),
            _Seconds(),
            console=console,
        )
        self._has_notes = False
        self._task = self._progress.add_task("task", total=100.0, start=False, mark=" ", state="")
        self._steps = {
            step: self._progress.add_task(step, total=1.0, start=False, mark=" ", state="") for step in STEPS
        }

    def show(self, event: Event) -> None:
        if event.progress is not None and not event.name.endswith(".failed"):
            self._progress.update(self._task, completed=event.progress, state=f"{event.progress:.0f} %")
        row = self._task if event.step is None else self._steps.get(event.step)
        if row is None:
            return
        if event.status == "started":
            self._progress.start_task(row)
            if event.step is not None:
                # Nobody knows how far a step is: its bar pulses.
                self._progress.update(row, total=None, mark="[cyan]•[/]", state="")
        elif event.status == "completed":
            self._progress.update(row, total=100.0, completed=100.0, mark="[green]✓[/]", state="100 %")
        elif event.status == "failed":
            self._progress.update(row, total=100.0, completed=0.0, mark="[red]✗[/]", state="failed")
            self._progress.stop_task(row)

    def note(self, note: Note) -> None:
        if not self._has_notes:
            self._progress.console.print()
        self._has_notes = True
        row = Table.grid(padding=(0, 1))
        row.add_row(_handler(note), Text(note.text))
        self._progress.console.print(row)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


class _Apart(Progress):
    """Bars with a blank line above, between them and the notes."""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield Text()
        yield from super().get_renderables()


class _Seconds(ProgressColumn):
    def render(self, task: Task) -> Text:
        elapsed = task.finished_time if task.finished else task.elapsed
        return Text("" if elapsed is None else f"{elapsed:5.1f} s", style="dim")


def _handler(note: Note) -> Text:
    return Text(f"  @on {note.handler:<13}", style="cyan", no_wrap=True)
