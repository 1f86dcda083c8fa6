"""Live progress: wires what happens to tasks to those who listen, in this process and in others."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from morag_client.config import Settings
from morag_client.errors import ConfigurationError, InboxError, InboxUnavailable
from morag_client.events.names import UNKNOWN
from morag_client.inbox.inbox import Inbox
from morag_client.inbox.lanes import Grant, Granted
from morag_client.inbox.queries import Queries
from morag_client.inbox.rows import now
from morag_client.processing.work import Work
from morag_client.progress.feed import Feed, Listener
from morag_client.progress.history import MOST, History
from morag_client.progress.relay import RedisRelay
from morag_client.progress.scopes import Scope
from morag_client.progress.updates import Update, update_of
from morag_client.receiver.observing import Observer
from morag_client.receiver.progress import ProgressGate

if TYPE_CHECKING:
    from morag_client.progress.socket_io import Sockets

logger = logging.getLogger("morag_client.progress")

_MARGIN: Final = timedelta(seconds=10)
"""Clocks differ, and what was under way when a connection broke is a little older."""
_MOST_WAITING: Final = 100


class Live:
    """What tells of progress between a start and a stop, bound to one event loop."""

    def __init__(self, inbox: Inbox, queries: Queries, *, settings: Settings, gate: ProgressGate) -> None:
        self._settings = settings
        self._gate = gate
        self._history = History(inbox)
        self._queries = queries
        self._relay = self._make_relay()
        self.feed = Feed(last=self.last, relay=self._relay)
        self._observer: Observer | None = None
        self._sockets: Sockets | None = None
        self._streams: set[Stream] = set()
        self._seen_at = now()
        self._is_over = False
        self._roll_call: asyncio.Task[None] | None = None

    def start(self, *, has_engine: bool) -> None:
        """Begins, as far as there is anything to do without listeners."""
        if self._relay is not None:
            self._relay.start()
        if not has_engine:
            self._observer = Observer(
                queries=self._queries,
                history=self._history,
                publish=self.feed.publish,
                is_wanted=lambda: self.feed.has_listeners,
            )

    async def stop(self) -> None:
        """Ends every connection and stream, and what feeds them."""
        await self.hang_up()
        if self._roll_call is not None:
            self._roll_call.cancel()
            await asyncio.wait([self._roll_call])
        if self._observer is not None:
            await self._observer.stop()
        if self._relay is not None:
            await self._relay.stop()
        self.feed.close()

    async def hang_up(self) -> None:
        """Ends every connection and stream; there will be no others."""
        self._is_over = True
        for stream in list(self._streams):
            stream.end()
        sockets, self._sockets = self._sockets, None
        if sockets is not None:
            await sockets.stop()

    @property
    def observes(self) -> bool:
        """Whether somebody listens to what nobody handles here, and so wants to be told of each record."""
        return self._observer is not None and self.feed.has_listeners

    def stored(self) -> None:
        """A record was stored that nobody handles here."""
        if self._observer is not None:
            self._observer.wake()

    def projected(self, grants: Iterable[Grant], works: Mapping[int, Work]) -> None:
        """Events were numbered, and that is committed."""
        if not self.feed.wants_updates:
            return
        try:
            for grant in grants:
                for granted in grant.records:
                    if granted.is_new:
                        self.feed.publish(_update(grant.lane, granted, works[granted.record_id]))
        except Exception:  # what is shown must never hold up what is done
            logger.exception("progress cannot be told")

    async def last(self, scope: Scope) -> list[Update]:
        """The last states of a scope's tasks, what changed last coming last. Raises InboxUnavailable."""
        if self._observer is not None:
            self._observer.wake()
        elif self._relay is None and self._roll_call is None:
            self._roll_call = asyncio.get_running_loop().create_task(self._call_roll(), name="morag-roll-call")
        stored = await self._history.last(scope)
        observed = await self.observed()
        mine = {key: update for key, update in observed.items() if scope.matches(key, update.state)}
        found = [update for update in stored if update.key not in mine or mine[update.key].sequence < update.sequence]
        newer = {update.key for update in found}
        return [*found, *(update for key, update in mine.items() if key not in newer)][-MOST:]

    async def observed(self) -> Mapping[bytes, Update]:
        """How the tasks are whose events nobody has handled; empty where there are handlers; raises as `last`."""
        return {} if self._observer is None else await self._observer.tasks()

    def sockets(self) -> Sockets:
        """What answers `/socket.io`. Raises InboxUnavailable where the receiver is about to stop."""
        if self._is_over:
            raise InboxUnavailable("the receiver is about to stop")
        if self._sockets is None:
            from morag_client.progress.socket_io import Sockets  # noqa: PLC0415  # 100 ms that few receivers need

            self._sockets = Sockets(feed=self.feed, gate=self._gate, limit=self._settings.progress_queue)
        return self._sockets

    async def follow(self, scope: Scope) -> AsyncGenerator[Update, None]:
        """The last states of a scope's tasks, then every update, as they come; who is slow misses the oldest.

        Raises InboxUnavailable at the beginning. It ends when the receiver stops.
        """
        stream = Stream()
        await self.feed.join(stream, scope)
        self._streams.add(stream)
        if self._is_over:
            stream.end()
        try:
            while (update := await stream.next()) is not None:
                yield update
        finally:
            self._streams.discard(stream)
            self.feed.leave(stream, scope)

    def _make_relay(self) -> RedisRelay | None:
        url = self._settings.redis_url
        if url is None:
            return None
        channel = f"{self._settings.redis_channel}:progress"
        return RedisRelay(url, channel=channel, name=uuid4().hex, take=self._take, look_again=self._look_again)

    def _take(self, update: Update) -> None:
        self._seen_at = max(self._seen_at, now())
        self.feed.publish_here(update)

    async def _look_again(self) -> None:
        """Tells what other processes did and could not tell."""
        since, at = self._seen_at - _MARGIN, now()
        if self.feed.has_listeners:
            for update in await self._history.changed_since(since):
                self.feed.publish_here(update)
        self._seen_at = at

    async def _call_roll(self) -> None:
        """Looks for other processes that handle events, and that tell nobody here of them."""
        before: dict[str, float] = {}
        while True:
            try:
                beats = await self._history.heartbeats()
            except (InboxError, ConfigurationError):
                beats = {}
            alive = [worker for worker, at in beats.items() if before.get(worker, at) < at]
            if len(alive) > 1:
                logger.warning(
                    "%d processes handle events of this inbox: who follows progress here is not told of what the others"
                    " handle; set MORAG_REDIS_URL for all of them",
                    len(alive),
                )
                return
            before = beats
            await asyncio.sleep(self._settings.lease / 2)  # in which each of them beats once at least


def _update(key: bytes, granted: Granted, work: Work) -> Update:
    fields = {"name": UNKNOWN} if work.reading is None else work.reading.fields
    return update_of(key, granted.task, fields, received_at=work.received_at, is_late=granted.is_late)


class Stream(Listener):
    """Updates that wait for one consumer, at most a hundred: each says everything, so the oldest can go."""

    def __init__(self) -> None:
        super().__init__(self._put)
        self._waiting: deque[Update] = deque(maxlen=_MOST_WAITING)
        self._has_news = asyncio.Event()
        self._is_over = False

    async def next(self) -> Update | None:
        """The next one; None when there will be no more."""
        while not self._waiting and not self._is_over:
            self._has_news.clear()
            await self._has_news.wait()
        return self._waiting.popleft() if self._waiting else None

    def end(self) -> None:
        """Lets the consumer end."""
        self._is_over = True
        self._has_news.set()

    def _put(self, update: Update) -> None:
        self._waiting.append(update)
        self._has_news.set()
