"""Ids that were passed over because there was nothing to be seen of them yet."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from typing import Final

_MOST: Final = 1024
_SECONDS: Final = 30.0
"""A delivery waits for its commit for a few seconds; what is never seen was rolled back."""


class Gaps:
    """PostgreSQL gives out ids before the commit, so that a record may appear behind later ones.

    Remembered are the newest _MOST, for _SECONDS by `clock` (monotonic seconds).
    """

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since: dict[int, float] = {}

    def __bool__(self) -> bool:
        return bool(self._since)

    def __contains__(self, record_id: int) -> bool:
        return record_id in self._since

    @property
    def ids(self) -> list[int]:
        return list(self._since)

    def note(self, *, after: int, up_to: int, seen: Container[int]) -> None:
        """The ids after one and up to another were passed, of which these were seen."""
        now = self._clock()
        for record_id in range(max(after, up_to - _MOST) + 1, up_to + 1):
            if record_id not in seen:
                self._since[record_id] = now
        self._forget_old(now - _SECONDS)

    def close(self, record_ids: Iterable[int]) -> None:
        """Something was seen of these."""
        for record_id in record_ids:
            self._since.pop(record_id, None)

    def _forget_old(self, oldest: float) -> None:
        for record_id in list(self._since):  # in the order in which they were noted
            if len(self._since) <= _MOST and self._since[record_id] > oldest:
                return
            del self._since[record_id]
