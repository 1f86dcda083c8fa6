"""Live progress over Socket.IO: `task_update` to whoever may know of the task.

python-socketio speaks the protocol, and this is the one file that knows it. Its own rooms are not used: they would make
a task for each client and message, know no bound for a client that reads nothing, and no order between what a client
is told at joining and what comes then (docs/ARCHITECTURE.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Any, Final, Protocol
from urllib.parse import parse_qs

import socketio
from engineio.packet import MESSAGE, Packet as EnginePacket
from socketio.exceptions import ConnectionRefusedError as Refused

from morag_client.errors import AuthenticationError, ConfigurationError, InboxUnavailable
from morag_client.progress.feed import Feed, Listener
from morag_client.progress.scopes import Scope, covered, scope_of
from morag_client.progress.updates import Update
from morag_client.progress.wires import Wire, emptied

logger = logging.getLogger("morag_client.progress")

EVENT: Final = "task_update"

_MOST_SCOPES: Final = 100
_AT_ONCE: Final = 64
"""So many clients are told before everybody else in the event loop has a turn."""
_TOGETHER: Final = 32
"""So many updates are put there together, where more than one waits."""
_STRANGER: Final = 10.0
"""Seconds that a connection may be open without having said who it is."""
_LARGEST: Final = 64 * 1024
_MOST_PENDING: Final = 1_000_000
"""So many messages to one client each may wait for their turn."""
_TOO_LITTLE: Final = "a client that reads too little of the progress is dropped"
_TOO_SLOW: Final = "there is more progress to tell than this process can; a client is dropped, and will ask again"


class Gate(Protocol):
    """Who may follow what; one is in `receiver/progress.py`."""

    async def scopes(self, connection: Any, auth: Any) -> Sequence[Scope]:
        """What a connection (an ASGI scope) with this `auth` may follow. Raises AuthenticationError with the reason."""

    def admits_origin(self, origin: str | None, environ: dict[str, Any]) -> bool:
        """Whether a page of that origin may connect."""


class Sockets:
    """An ASGI application for `/socket.io`, bound to the running event loop.

    A client with more than `limit` messages in its queue is dropped.
    """

    def __init__(self, *, feed: Feed, gate: Gate, limit: int) -> None:
        self._feed = feed
        self._gate = gate
        self._limit = limit
        self._server = socketio.AsyncServer(
            async_mode="asgi",
            async_handlers=False,  # what a client says is done before it is heard again
            cors_allowed_origins=gate.admits_origin,
            max_http_buffer_size=_LARGEST,
            logger=_silenced("socketio"),
            engineio_logger=_silenced("engineio"),
        )
        for name, handler in (
            ("connect", self._on_connect),
            ("disconnect", self._on_disconnect),
            ("subscribe", self._on_subscribe),
            ("unsubscribe", self._on_unsubscribe),
        ):
            self._server.on(name, handler)
        self._members: dict[str, _Member] = {}
        self._wires: dict[str, Wire] = {}
        self._strangers: dict[str, float] = {}
        self._outgoing: deque[tuple[EnginePacket, list[_Member]]] = deque()
        self._pending = 0
        self._has_outgoing = asyncio.Event()
        self._packet: tuple[Update | None, EnginePacket | None] = (None, None)
        self._tasks: set[asyncio.Task[None]] = set()
        self._spawn(self._send_all())
        self._spawn(self._look_around())

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            await self._server.handle_request(scope, receive, send)
            return
        wire = Wire(receive, send)
        sid = parse_qs(scope["query_string"].decode("latin-1")).get("sid", [""])[0]
        if sid:  # a connection that began by polling
            self._wires[sid] = wire
        scope[_WIRE] = wire
        stranger = asyncio.get_running_loop().call_later(_STRANGER, wire.cut_if_strange)
        try:
            await self._server.handle_request(scope, wire.receive, wire.send)
        finally:
            stranger.cancel()
            await wire.close()
            if self._wires.get(sid) is wire:
                del self._wires[sid]

    async def stop(self) -> None:
        """Ends every connection; clients connect again to whoever answers then."""
        for task in self._tasks:
            task.cancel()
        for sid in list(self._server.eio.sockets):
            await self._drop(sid)
        for task in list(self._tasks):
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._server.shutdown()

    async def _on_connect(self, sid: str, environ: dict[str, Any], auth: Any = None) -> None:
        connection = environ["asgi.scope"]
        try:
            granted = await self._gate.scopes(connection, auth)
        except AuthenticationError as error:
            raise Refused(str(error)) from None
        except Exception:  # the application's own function
            logger.exception("who may follow progress cannot be found out")
            raise Refused("who may follow progress cannot be found out") from None
        eio_sid = self._server.manager.eio_sid_from_sid(sid, "/")
        member = self._members[sid] = _Member(self, eio_sid, granted)
        wire = connection.get(_WIRE)
        if wire is not None:
            wire.is_known = True
            self._wires[eio_sid] = member.wire = wire
        # Later, since the client is told that it is connected when this returns.
        self._spawn(self._join_all(member))

    async def _join_all(self, member: _Member) -> None:
        try:
            for scope in member.granted:
                await self._join(member, scope)
        except InboxUnavailable as error:
            logger.error("somebody who follows progress cannot be told the last states: %s", error)
            await self._drop(member.eio_sid)  # it will try again

    async def _on_disconnect(self, sid: str, _reason: str) -> None:
        member = self._members.pop(sid, None)
        if member is not None:
            member.is_gone = True
            for scope in member.joined:
                self._feed.leave(member, scope)
            self._wires.pop(member.eio_sid, None)

    async def _on_subscribe(self, sid: str, said: Any = None) -> dict[str, str]:
        member = self._members[sid]
        try:
            scope = scope_of(said)
            if not covered(scope, member.granted):
                return {"error": "that is not among what this connection may follow"}
            if len(member.joined) >= _MOST_SCOPES and scope not in member.joined:
                return {"error": f"this connection follows {_MOST_SCOPES} things already"}
            await self._join(member, scope)
        except ConfigurationError as error:
            return {"error": str(error)}
        except InboxUnavailable as error:  # what the database said is for the log alone
            return {"error": str(error).partition(": ")[0]}
        return {"status": "subscribed"}

    async def _on_unsubscribe(self, sid: str, said: Any = None) -> dict[str, str]:
        member = self._members[sid]
        try:
            scope = scope_of(said)
        except ConfigurationError as error:
            return {"error": str(error)}
        async with member.joining:
            if scope in member.joined:
                del member.joined[scope]
                self._feed.leave(member, scope)
        return {"status": "unsubscribed"}

    async def _join(self, member: _Member, scope: Scope) -> None:
        async with member.joining:
            if member.is_gone:
                return
            await self._feed.join(member, scope)
            member.joined[scope] = None
            if member.is_gone:
                self._feed.leave(member, scope)

    def put(self, member: _Member, update: Update) -> None:
        """Sends an update to a client, which is not waited for."""
        known, packet = self._packet
        if known is not update or packet is None:
            # Encoded once, whoever it goes to.
            encoded = self._server.packet_class(data=[EVENT, update.message]).encode()
            packet = EnginePacket(MESSAGE, encoded)
            self._packet = update, packet
        if self._outgoing and self._outgoing[-1][0] is packet:
            self._outgoing[-1][1].append(member)
        else:
            self._outgoing.append((packet, [member]))
        self._pending += 1
        self._has_outgoing.set()

    async def _send_all(self) -> None:
        while True:
            self._has_outgoing.clear()
            await self._has_outgoing.wait()
            while self._outgoing:
                is_behind = self._pending > _MOST_PENDING
                # All that waits for one client goes over its wire at once, in one write of the event loop's.
                batch: dict[_Member, list[EnginePacket]] = {}
                for _ in range(min(_TOGETHER, len(self._outgoing))):
                    packet, members = self._outgoing.popleft()
                    self._pending -= len(members)
                    for member in members:
                        batch.setdefault(member, []).append(packet)
                for number, (member, packets) in enumerate(batch.items(), 1):
                    if not member.is_gone:
                        await self._send(packets, member, is_behind=is_behind)
                    if number % _AT_ONCE == 0:
                        await asyncio.sleep(0)
                await asyncio.sleep(0)

    async def _send(self, packets: Sequence[EnginePacket], member: _Member, *, is_behind: bool) -> None:
        engine = self._server.eio
        socket = engine.sockets.get(member.eio_sid)
        if socket is None or socket.closed:
            return
        waiting = len(member.wire) if member.wire is not None else socket.queue.qsize()
        if is_behind or waiting >= self._limit:
            logger.warning(_TOO_SLOW if is_behind else _TOO_LITTLE)
            await self._drop(member.eio_sid)
            return
        # Who began by polling is told over its wire once there is one, and the library's queue has gone over it.
        if member.wire is None and socket.upgraded and not socket.upgrading and await emptied(socket.queue):
            member.wire = self._wires.get(member.eio_sid)
        if member.wire is not None:
            member.wire.put(*[packet.encode() for packet in packets])
            return
        for packet in packets:
            await engine.send_packet(member.eio_sid, packet)

    async def _drop(self, eio_sid: str) -> None:
        """Ends a connection without waiting for a client that may not read."""
        wire = self._wires.pop(eio_sid, None)
        if wire is not None:
            wire.cut()
        self._strangers.pop(eio_sid, None)
        socket = self._server.eio.sockets.get(eio_sid)
        if socket is not None:
            await socket.close(wait=False, abort=True)
            socket.queue.put_nowait(None)  # ends a poll that waits

    async def _look_around(self) -> None:
        """Drops those who poll and never say who they are."""
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(_STRANGER / 2)
            known = {member.eio_sid for member in self._members.values()}
            strangers = self._server.eio.sockets.keys() - known
            self._strangers = {sid: self._strangers.get(sid, clock()) for sid in strangers}
            for sid, since in list(self._strangers.items()):
                if clock() - since >= _STRANGER:
                    await self._drop(sid)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="morag-sockets")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Member(Listener):
    """A connected client."""

    def __init__(self, sockets: Sockets, eio_sid: str, granted: Sequence[Scope]) -> None:
        super().__init__(self._put)
        self._sockets = sockets
        self.eio_sid = eio_sid
        self.granted = granted
        self.joined: dict[Scope, None] = {}
        self.joining = asyncio.Lock()
        self.is_gone = False
        self.wire: Wire | None = None
        """Over which it is told, once it has one."""

    def _put(self, update: Update) -> None:
        if not update.is_late:
            self._sockets.put(self, update)


_WIRE: Final = "morag_client.wire"


def _silenced(name: str) -> logging.Logger:
    # Below that, it logs what was sent and received, tokens too.
    found = logging.getLogger(f"morag_client.progress.{name}")
    found.setLevel(logging.WARNING)
    return found
