"""How often somebody may try a password."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final

_MOST_PEERS: Final = 1024


class Attempts:
    """Counts failed attempts, of each peer and of all together; `limit` and `overall` in `window` (seconds)."""

    def __init__(self, *, limit: int = 5, overall: int = 60, window: float = 60.0) -> None:
        self._limit, self._overall, self._window = limit, overall, window
        self._peers: OrderedDict[str, deque[float]] = OrderedDict()
        self._all: deque[float] = deque(maxlen=overall)

    def wait(self, peer: str, *, now: float) -> float:
        """After how many seconds a peer may try again; 0 for at once. `now` is of a clock that only goes forward."""
        failed = self._peers.get(peer, deque())
        waits = [
            times[-limit] + self._window - now
            for times, limit in ((failed, self._limit), (self._all, self._overall))
            if len(times) >= limit
        ]
        return max([0.0, *waits])

    def failed(self, peer: str, *, now: float) -> None:
        """A peer tried, and it was not the password."""
        self._all.append(now)
        self._peers.setdefault(peer, deque(maxlen=self._limit)).append(now)
        self._peers.move_to_end(peer)
        if len(self._peers) > _MOST_PEERS:
            self._peers.popitem(last=False)

    def succeeded(self, peer: str) -> None:
        """A peer knew it."""
        self._peers.pop(peer, None)
