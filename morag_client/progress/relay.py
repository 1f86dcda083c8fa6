"""Updates between the processes of one application, over Redis.

What is told to one process has to reach the sockets and streams of all of them. Redis forgets what nobody takes at
once, so whoever was cut off reads from the database what it missed, and whoever could not tell something says so later.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from morag_client.errors import ConfigurationError
from morag_client.progress.updates import Update, decode, encode

if TYPE_CHECKING:
    from redis.asyncio import Redis

logger = logging.getLogger("morag_client.progress")

_MOST_WAITING: Final = 1000
_PATIENCE: Final = 3.0
_PAUSES: Final = (0.1, 0.5, 1.0, 2.0)
_LOOK: Final = 2.0
_SILENCE: Final = 3 * _LOOK + 1.0
"""Seconds without so much as our own signs of life, after which a connection is not believed in any more."""
_AGAIN: Final = b"again"


class RedisRelay:
    """Sends updates to the other processes and takes theirs, from `start` to `stop`.

    `take` gets each update of another process, `look_again` is awaited when some may have been missed. `name` is this
    process's own; `channel` is common to all that share an inbox.
    """

    def __init__(
        self,
        url: str,
        *,
        channel: str,
        name: str,
        take: Callable[[Update], None],
        look_again: Callable[[], Awaitable[None]],
    ) -> None:
        self._redis = _client(url)
        self._channel = channel
        self._name = name.encode()
        self._take = take
        self._look_again = look_again
        self._waiting: deque[Update] = deque(maxlen=_MOST_WAITING)
        self._has_news = asyncio.Event()
        self._has_lost = False
        self._wants_sign = False
        self._is_cut_off = True
        self._parts: list[asyncio.Task[None]] = []

    @property
    def is_connected(self) -> bool:
        """Whether others' updates arrive."""
        return not self._is_cut_off

    def start(self) -> None:
        """Begins; where Redis does not answer, it is tried again and again."""
        for part in (self._receive(), self._send(), self._keep_looking()):
            self._parts.append(asyncio.get_running_loop().create_task(part, name="morag-relay"))

    async def stop(self) -> None:
        """Ends, and lets go of Redis."""
        for part in self._parts:
            part.cancel()
        if self._parts:
            await asyncio.wait(self._parts)
        with contextlib.suppress(Exception):
            await self._redis.aclose()

    def send(self, update: Update) -> None:
        """Tells the other processes. What waits too long is forgotten: they are told to look for themselves."""
        if len(self._waiting) == _MOST_WAITING:
            self._has_lost = True
        self._waiting.append(update)
        self._has_news.set()

    async def _send(self) -> None:
        failures = 0
        while True:
            if not (self._waiting or self._has_lost or self._wants_sign):
                self._has_news.clear()
                await self._has_news.wait()
            try:
                await self._send_all()
                failures = 0
            except Exception as error:  # whatever the driver raises: the next attempt is the answer to all of it
                self._has_lost = True
                self._say(failures, "progress cannot be sent to other processes: %s", error)
                await asyncio.sleep(_PAUSES[min(failures, len(_PAUSES) - 1)])
                failures += 1

    async def _send_all(self) -> None:
        while self._waiting:
            await self._post(encode(self._waiting.popleft()))
        if self._has_lost or self._wants_sign:
            await self._post(_AGAIN if self._has_lost else b"")
            self._has_lost = self._wants_sign = False

    async def _post(self, text: bytes) -> None:
        async with asyncio.timeout(_PATIENCE):
            await self._redis.publish(self._channel, self._name + b" " + text)

    async def _receive(self) -> None:
        failures = 0
        while True:
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as subscription:
                    async with asyncio.timeout(_PATIENCE):
                        await subscription.subscribe(self._channel)
                    self._is_cut_off, failures = False, 0
                    await self._look()
                    while True:
                        # Our own signs of life come back. Where they do not, nothing does, whoever has forgotten us.
                        async with asyncio.timeout(_SILENCE):
                            message = await subscription.get_message(timeout=None)
                        if message is not None:
                            await self._taken(message.get("data"))
            except Exception as error:
                self._is_cut_off = True
                self._say(failures, "progress of other processes does not arrive: %s", error)
                await asyncio.sleep(_PAUSES[min(failures, len(_PAUSES) - 1)])
                failures += 1

    async def _taken(self, data: Any) -> None:
        sender, _, text = bytes(data).partition(b" ")
        if sender == self._name or not text:
            return
        if text == _AGAIN:
            await self._look()
            return
        try:
            self._take(decode(text))
        except (ValueError, KeyError, TypeError):
            logger.warning("something else than progress came by the channel %r of Redis", self._channel)

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            self._wants_sign = True
            self._has_news.set()
            if self._is_cut_off:
                await self._look()

    async def _look(self) -> None:
        try:
            await self._look_again()
        except Exception as error:  # the database's, mostly; the next look is the answer
            logger.warning("what other processes did cannot be looked up: %s", error)

    def _say(self, failures: int, text: str, error: Exception) -> None:
        if not failures:  # once, and not with each attempt
            logger.warning(text, error)


def _client(url: str) -> Redis:
    try:
        from redis.asyncio import Redis  # noqa: PLC0415  # an extra
    except ImportError:
        raise ConfigurationError(
            "redis_url= (MORAG_REDIS_URL) needs another package: pip install 'morag-client[redis]'"
        ) from None
    try:
        return Redis.from_url(url, socket_connect_timeout=_PATIENCE, health_check_interval=15)
    except ValueError as error:
        raise ConfigurationError(f"redis_url= (MORAG_REDIS_URL) is no URL of a Redis: {error}") from None
