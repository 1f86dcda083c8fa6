"""From what happened to tasks to whoever listens in this process: sockets, streams and the application itself."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final, Protocol

from morag_client.progress.pacing import Pacing
from morag_client.progress.scopes import Scope
from morag_client.progress.updates import Update

_KEPT: Final = 4096
_MOST_HELD: Final = 1000
_READS: Final = 4
"""How many who join may ask the database at once: the answers to MoRAG use it, too."""
_SETTLED: Final = 10.0
"""Seconds after which nothing is on its way any more that is older than what somebody was told at joining."""


class Relay(Protocol):
    """What takes updates to other processes."""

    def send(self, update: Update) -> None: ...


class Listener:
    """Somebody who is told: first the last states of what was joined, then what comes, nothing twice or backwards."""

    def __init__(self, deliver: Callable[[Update], None]) -> None:
        self._deliver = deliver
        self._held: list[Update] | None = None
        self._seen: dict[bytes, int] = {}

    def take(self, update: Update) -> None:
        """One more update."""
        if self._held is not None:
            self._held.append(update)
            del self._held[:-_MOST_HELD]
        elif not self._seen or self._seen.get(update.key, 0) < update.sequence:
            self._deliver(update)

    def hold(self) -> None:
        """From now on updates wait for `release`."""
        self._held = []

    def release(self, last: Sequence[Update]) -> None:
        """Tells the last states, then what came meanwhile and is newer."""
        for update in last:
            self._seen[update.key] = update.sequence
            self._deliver(update)
        held, self._held = self._held or (), None
        for update in held:
            self.take(update)

    def settle(self) -> None:
        """Forgets what need not be known any more."""
        self._seen = {}


class Feed:
    """Takes updates, and tells whoever listens to their tasks; bound to the running event loop.

    `last(scope)` are the last states of a scope's tasks. While nobody listens and there is no relay, an update costs
    nothing.
    """

    def __init__(self, *, last: Callable[[Scope], Awaitable[Sequence[Update]]], relay: Relay | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._last = _SharedReads(last)
        self._relay = relay
        self._audience = _Audience()
        self._pacing = Pacing()
        self._timer: asyncio.TimerHandle | None = None
        self._sequences: dict[bytes, int] = {}

    @property
    def has_listeners(self) -> bool:
        return bool(self._audience)

    @property
    def wants_updates(self) -> bool:
        """Whether anybody is to be told, here or elsewhere."""
        return bool(self._audience) or self._relay is not None

    def publish(self, update: Update) -> None:
        """Tells of what happened in this process."""
        if self._relay is not None:
            self._relay.send(update)
        self.publish_here(update)

    def publish_here(self, update: Update) -> None:
        """Tells those in this process; what is not newer than what they know is dropped."""
        if not self._audience or self._sequences.get(update.key, -1) >= update.sequence:
            return
        self._sequences.pop(update.key, None)
        self._sequences[update.key] = update.sequence
        if len(self._sequences) > _KEPT:
            del self._sequences[next(iter(self._sequences))]
        if self._pacing.offer(update, now=self._loop.time()):
            self._tell(update)
        elif self._timer is None:
            self._wake_later()

    async def join(self, listener: Listener, scope: Scope) -> None:
        """Lets somebody listen to a scope's tasks: their last states come first. Raises InboxUnavailable."""
        listener.hold()
        self._audience.add(scope, listener)
        last: Sequence[Update] = ()
        try:
            last = await self._last.of(scope)
        except BaseException:
            self._audience.remove(scope, listener)
            raise
        finally:
            listener.release(last)
        self._loop.call_later(_SETTLED, listener.settle)

    def leave(self, listener: Listener, scope: Scope) -> None:
        """Ends what `join` began."""
        self._audience.remove(scope, listener)

    def close(self) -> None:
        """Tells nobody any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._audience = _Audience()

    def _tell(self, update: Update) -> None:
        for listener in self._audience.of(update):
            listener.take(update)

    def _wake_later(self) -> None:
        next_at = self._pacing.next_at
        self._timer = None if next_at is None else self._loop.call_at(next_at, self._wake)

    def _wake(self) -> None:
        for update in self._pacing.due(now=self._loop.time()):
            self._tell(update)
        self._wake_later()


class _SharedReads:
    """Reads last states for many who join at once: those of one scope share the next read of it."""

    def __init__(self, last: Callable[[Scope], Awaitable[Sequence[Update]]]) -> None:
        self._last = last
        self._slots = asyncio.Semaphore(_READS)
        self._next: dict[Scope, asyncio.Task[Sequence[Update]]] = {}

    async def of(self, scope: Scope) -> Sequence[Update]:
        """The last states of a scope's tasks, read after this was called."""
        task = self._next.get(scope)
        if task is None:
            task = self._next[scope] = asyncio.get_running_loop().create_task(self._read(scope), name="morag-last")
        return await asyncio.shield(task)

    async def _read(self, scope: Scope) -> Sequence[Update]:
        async with self._slots:
            del self._next[scope]  # whoever comes now might miss something between this read and its joining
            return await self._last(scope)


class _Audience:
    """Who listens to what, found by a look for each kind of scope, however many there are."""

    def __init__(self) -> None:
        self._rooms: dict[Any, dict[Listener, None]] = {}
        self._by_id: dict[Any, dict[Scope, None]] = {}
        """The scopes of correlations by the first of their ids."""

    def __bool__(self) -> bool:
        return bool(self._rooms)

    def add(self, scope: Scope, listener: Listener) -> None:
        self._rooms.setdefault(_room(scope), {})[listener] = None
        if scope.kind == "correlation":
            self._by_id.setdefault((scope.tenant, scope.ids[0]), {})[scope] = None

    def remove(self, scope: Scope, listener: Listener) -> None:
        room = self._rooms.get(_room(scope), {})
        room.pop(listener, None)
        if room:
            return
        self._rooms.pop(_room(scope), None)
        if scope.kind == "correlation":
            scopes = self._by_id.get((scope.tenant, scope.ids[0]), {})
            scopes.pop(scope, None)
            if not scopes:
                self._by_id.pop((scope.tenant, scope.ids[0]), None)

    def of(self, update: Update) -> list[Listener]:
        """Each of those who listen to its task, once."""
        found = [room for name in self._rooms_of(update) if (room := self._rooms.get(name))]
        if len(found) == 1:
            return list(found[0])
        return list({listener: None for room in found for listener in room})

    def _rooms_of(self, update: Update) -> Iterator[Any]:
        state = update.state
        yield ("all", None)
        yield ("all", state.tenant)
        yield ("task", update.key)
        yield ("document", state.tenant, state.document_id)
        if self._by_id:
            for tenant, pair in itertools.product((None, state.tenant), state.correlation.items()):
                for scope in self._by_id.get((tenant, pair), ()):
                    if scope.matches(update.key, state):
                        yield _room(scope)


def _room(scope: Scope) -> Any:
    if scope.kind == "all":
        return ("all", scope.tenant)
    if scope.kind == "task":
        return ("task", scope.key)
    return ("document", scope.tenant, scope.id) if scope.kind == "document" else scope
