"""Markdown in the making: blocks one after the other, inside of lists and quotations."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final, Literal

_DEEPEST: Final = 16
"""Lists, items and quotations within each other that are shown; each adds to every line within."""

Kind = Literal["list", "item", "quotation"]


@dataclass(slots=True)
class _Container:
    kind: Kind
    marker: str = ""
    fresh: bool = False
    number: int | None = None

    @property
    def prefix(self) -> str:
        return self.marker if self.fresh or self.kind == "quotation" else " " * len(self.marker)


class Blocks:
    """Takes blocks in the order of the document, and joins them to markdown."""

    def __init__(self) -> None:
        self._containers: list[_Container] = []
        self._open: Counter[Kind] = Counter()
        self._pieces: list[str] = []
        self._before: list[_Container] = []
        self.size = 0
        """Characters written so far."""

    def start_list(self, *, number: int | None = None) -> None:
        """A list, numbered from `number` on, or not at all."""
        self._enter(_Container("list", number=number))

    def start_item(self) -> None:
        """The next item of the innermost list; one that was left open ends. Outside of any list it makes its own."""
        if not self._open["list"]:
            self.start_list()
        for place in range(len(self._containers) - 1, -1, -1):
            if self._containers[place].kind == "item":
                self._leave_from(place)
            elif self._containers[place].kind == "list":
                break
        around = self._containers[place]
        marker = "- "
        if around.number is not None:
            marker = f"{around.number}. "
            around.number += 1
        self._enter(_Container("item", marker, fresh=True))

    def start_quotation(self) -> None:
        """A quotation."""
        self._enter(_Container("quotation", "> "))

    def end(self, kind: Kind) -> None:
        """Ends the innermost of that kind, with what is still open in it. Nothing where none is open."""
        if self._open[kind]:
            places = range(len(self._containers) - 1, -1, -1)
            self._leave_from(next(place for place in places if self._containers[place].kind == kind))

    def add(self, block: str) -> None:
        """A block, in one or more lines; the first of a list's item comes right under the item before."""
        if not block:
            return
        around = self._containers[:_DEEPEST]
        if self._pieces:
            self._pieces.append(self._gap(around))
        first = "".join(container.prefix for container in around)
        for container in around:
            container.fresh = False
        rest = "".join(container.prefix for container in around)
        line, *lines = block.split("\n")
        self._pieces.append(f"{first}{line}")
        self._pieces += [f"\n{rest}{line}" if line else f"\n{rest.rstrip()}" for line in lines]
        self.size += len(block) + len(first) + len(rest) * len(lines) + 2
        self._before = around

    def __str__(self) -> str:
        return "".join(self._pieces)

    def _gap(self, around: list[_Container]) -> str:
        """What comes between the block before and the next: no blank line within a list, a quotation's mark on its."""
        shared = [one for one, other in zip(self._before, around, strict=False) if one is other]
        if any(container.kind == "list" for container in shared) and any(container.fresh for container in around):
            return "\n"
        return f"\n{''.join(container.prefix for container in shared).rstrip()}\n"

    def _enter(self, container: _Container) -> None:
        self._containers.append(container)
        self._open[container.kind] += 1

    def _leave_from(self, place: int) -> None:
        self._open.subtract(container.kind for container in self._containers[place:])
        del self._containers[place:]
