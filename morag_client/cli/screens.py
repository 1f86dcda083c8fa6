"""Bars below and lines above, where the terminal can move its cursor; plain lines where it cannot."""

from __future__ import annotations

import io
import logging
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Final, Self

import typer
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.live import Live
from rich.text import Text

from morag_client.cli.inboxes import printable

Draw = Callable[[int, int, bool], Iterable[Text]]
"""The lines to show, for a width, a height and whether the terminal has nothing but ASCII."""

_A_SECOND: Final = 8
_FULL: Final = "━"
_HALF: Final = "╸"
_SHORTEST: Final = 3
_ALIKE: Final = 60.0
"""Seconds in which a warning is not repeated."""


class Screen:
    """Draws what is under way on stderr, and takes lines meanwhile; without a terminal there are the lines only.

    What was drawn is gone when it is closed, however it is closed.
    """

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self._console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self.moves = self._console.is_terminal and not self._console.is_dumb_terminal
        self._live = Live(
            console=self._console,
            get_renderable=lambda: _Drawing(self._draw),
            refresh_per_second=_A_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._log = _Notes(self.note)

    def say(self, line: str) -> None:
        """A line of the result, on stdout."""
        if self._live.is_started and sys.stdout.isatty():
            self._above(line)
        else:
            typer.echo(line)

    def note(self, line: str) -> None:
        """A line about the result, on stderr."""
        if self._live.is_started:
            self._above(line)
        else:
            typer.echo(line, err=True)

    def _above(self, line: str) -> None:
        self._console.print(Text(line), soft_wrap=True)

    def __enter__(self) -> Self:
        logging.getLogger("morag_client").addHandler(self._log)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # Names may hold what the terminal's encoding does not.
                stream.reconfigure(errors="replace")
        if self.moves:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        logging.getLogger("morag_client").removeHandler(self._log)
        if self._live.is_started:
            self._live.stop()


class _Drawing:
    """The lines as they are at the moment, as many as there is room for."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> list[RenderableType]:
        # A line that ends in the last column makes some terminals begin another.
        width, height = max(options.max_width - 1, 20), max(console.height - 2, 1)
        lines = list(self._draw(width, height, options.ascii_only))[:height]
        for line in lines:
            line.truncate(width, overflow="crop" if options.ascii_only else "ellipsis")
            line.no_wrap = True
        return [Group(*lines)]


class _Notes(logging.Handler):
    """Warnings of the library among the other lines; of many that are alike, as of each of many tasks, the first."""

    def __init__(self, note: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._note = note
        self._said: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        if now - self._said.get(str(record.msg), -_ALIKE) >= _ALIKE:
            self._said[str(record.msg)] = now
            self._note(printable(f"warning: {record.getMessage()}"))


def bar(parts: Sequence[tuple[float, str]], width: int, *, is_ascii: bool) -> Text:
    """A bar of so many cells: each part as long as its share (of 1), in its style; the rest is dim."""
    text, drawn, reached = Text(), 0, 0.0
    full = "#" if is_ascii else _FULL
    for share, style in parts:
        reached = min(reached + max(share, 0.0), 1.0)
        cells = round(reached * width) - drawn
        if cells > 1 and not is_ascii and drawn + cells < width:
            text.append(full * (cells - 1) + _HALF, style)
        else:
            text.append(full * cells, style)
        drawn += cells
    return text.append(("-" if is_ascii else full) * (width - drawn), "bright_black")


def fitted(text: str, width: int, *, is_ascii: bool) -> str:
    """The text in exactly so many cells; of one that is longer, its end, which tells files apart."""
    from rich.cells import cell_len, set_cell_size  # noqa: PLC0415

    dots = "..." if is_ascii else "…"
    shown = printable(text)
    if is_ascii:
        shown = shown.encode("ascii", "replace").decode()
    if cell_len(shown) > width:
        while shown and cell_len(shown) > max(width - len(dots), 0):
            shown = shown[1:]
        shown = dots + shown if width >= _SHORTEST else ""
    return set_cell_size(shown, width)
