"""Files on their way to MoRAG or from it: how far each is, and all together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from rich.filesize import decimal
from rich.text import Text

from morag_client.cli.screens import bar, fitted

_BAR: Final = 28
_FEW: Final = 24


@dataclass(slots=True)
class Transfer:
    """A file under way; sizes are in bytes."""

    name: str
    size: int
    done: int = 0

    def on_progress(self, done: int, size: int) -> None:
        """So many bytes are through."""
        self.done, self.size = done, size


@dataclass(slots=True)
class Transfers:
    """All files of a run: `size` in bytes, `count` of files; `word` says what is done with them."""

    word: str
    count: int
    size: int
    clock: Callable[[], float] = time.monotonic
    under_way: dict[int, Transfer] = field(default_factory=dict)
    ended: int = 0
    _through: int = 0
    _began: float | None = None

    def begin(self, name: str, size: int) -> Transfer:
        """One more is under way."""
        if self._began is None:
            self._began = self.clock()
        transfer = Transfer(name, size)
        self.under_way[id(transfer)] = transfer
        return transfer

    def end(self, transfer: Transfer, *, expected: int) -> None:
        """One is through, well or not; `expected` is what it had in the whole."""
        self.under_way.pop(id(transfer), None)
        self._through += expected
        self.ended += 1

    @property
    def is_over(self) -> bool:
        return self.ended >= self.count

    def lines(self, width: int, height: int, is_ascii: bool) -> Iterator[Text]:
        """A line for each that is under way, as far as there is room, and one for all."""
        current = list(self.under_way.values())
        room = max(height - 2, 1)
        for transfer in current[:room]:
            yield self._line(transfer, width, is_ascii=is_ascii)
        if len(current) > room:
            yield Text(f"  and {len(current) - room:,} more", "bright_black")
        if self.count > 1:
            yield self._sum(current, width, is_ascii=is_ascii)

    def _line(self, transfer: Transfer, width: int, *, is_ascii: bool) -> Text:
        share = transfer.done / transfer.size if transfer.size else 0.0
        sent = transfer.size and transfer.done >= transfer.size
        amount = "waiting for the answer" if sent else f"{decimal(transfer.done)} of {decimal(transfer.size)}"
        wide = max(width - _BAR - _FEW - 8, 12)
        line = Text("  " + fitted(transfer.name, wide, is_ascii=is_ascii) + " ")
        line.append(bar([(share, "cyan")], _BAR - 8, is_ascii=is_ascii))
        return line.append(f" {share * 100:3.0f} %  {amount}")

    def _sum(self, current: list[Transfer], width: int, *, is_ascii: bool) -> Text:
        done = self._through + sum(transfer.done for transfer in current)
        share = done / self.size if self.size else self.ended / self.count
        wide = max(width - _BAR - _FEW - 8, 12)
        title = f"{self.ended:,} of {self.count:,} {self.word}"
        line = Text("  " + fitted(title, wide, is_ascii=is_ascii) + " ", "bold")
        line.append(bar([(min(share, 1.0), "green")], _BAR - 8, is_ascii=is_ascii))
        return line.append(f" {min(share, 1.0) * 100:3.0f} %  {self._speed(done)}")

    def _speed(self, done: int) -> str:
        seconds = 0.0 if self._began is None else self.clock() - self._began
        return f"{decimal(int(done / seconds))}/s" if seconds > 1 and done else decimal(done)
