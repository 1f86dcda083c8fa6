"""The receiver's HTTP: the hot path of a webhook without any framework, Starlette's routes for the rest."""

from __future__ import annotations

import dataclasses
import json
import logging
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from morag_client.errors import AuthenticationError, ConfigurationError, DeliveryRejected, InboxUnavailable, MoragError
from morag_client.receiver.browser_client import BROWSER_CLIENT, is_socket_io, send_browser_client
from morag_client.receiver.inspection import for_anybody, inspection_routes
from morag_client.receiver.lifecycle import Lifecycle
from morag_client.receiver.progress import ProgressGate
from morag_client.receiver.reading import ClientGone, Receive, Scope, Send, read_delivery
from morag_client.wire.redaction import REDACTED, redacted_bytes, redacted_text

if TYPE_CHECKING:
    from morag_client.receiver.receiver import Receiver

logger = logging.getLogger("morag_client.receiver")

_ANSWERS: Final = {
    "received": (b'{"status":"received"}', b"21"),
    "duplicate": (b'{"status":"duplicate"}', b"22"),
}
_SIGNED: Final = "/webhook/"
_JSON_HEADER: Final = (b"content-type", b"application/json")


class Application:
    """Routes a request: `POST /webhook` here, everything else through Starlette."""

    def __init__(self, receiver: Receiver, *, access: Any, gate: ProgressGate, lifecycle: Lifecycle) -> None:
        self._receiver = receiver
        self._lifecycle = lifecycle
        self._has_signed_urls = receiver.settings.signing_key is not None
        self._others = inspection_routes(receiver, access=access, gate=gate, lifecycle=lifecycle)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = _route_path(scope)
            if path in {"/webhook", "/webhook/"}:
                await self._webhook(scope, receive, send)
            elif self._has_signed_urls and path.startswith(_SIGNED):
                await self._webhook(scope, receive, send, token=_take_token(scope, path))
            elif is_socket_io(path):
                await self._socket_io(scope, receive, send, path)
            else:
                if self._has_signed_urls:
                    _hide_tokens(scope, redacted_text(scope["path"]))
                await self._others(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "websocket":
            if is_socket_io(path := _route_path(scope)):
                await self._socket_io(scope, receive, send, path)
            else:
                await send({"type": "websocket.close", "code": 1000})

    async def _socket_io(self, scope: Scope, receive: Receive, send: Send, path: str) -> None:
        if scope["type"] == "http" and path in BROWSER_CLIENT:
            await send_browser_client(scope, receive, send)
            return
        try:
            sockets = (await self._lifecycle.runtime()).live.sockets()
        except (InboxUnavailable, ConfigurationError) as error:
            logger.error("progress cannot be followed: %s", error)
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1013})
            else:
                await _answer(send, 503, _rejection("unavailable", [for_anybody(error)]), (b"retry-after", b"1"))
        else:
            await sockets(scope, receive, send)

    async def _webhook(self, scope: Scope, receive: Receive, send: Send, *, token: str | None = None) -> None:
        if scope["method"] != "POST":
            await _answer(send, 405, _rejection("method_not_allowed", ["send a POST"]), (b"allow", b"POST"))
            return
        settings = self._receiver.settings
        try:
            delivery = await read_delivery(
                scope, receive, limit=settings.max_body_bytes, patience=settings.body_timeout
            )
            if token is not None:
                delivery = dataclasses.replace(delivery, token=token)
            receipt = await self._receiver.receive(delivery)
        except ClientGone:
            logger.info("a client hung up in the middle of a body")
        except DeliveryRejected as rejected:
            logger.warning("refused a delivery with %d: %s", rejected.status, rejected)
            await _answer(send, rejected.status, _rejection(rejected.code, rejected.problems), *_extra(rejected))
        except (InboxUnavailable, ConfigurationError) as error:
            logger.error("could not take a delivery: %s", error)
            await _answer(send, 503, _rejection("unavailable", [for_anybody(error)]), (b"retry-after", b"1"))
        else:
            if logger.isEnabledFor(logging.INFO):
                event = receipt.event
                logger.info("%s %s task=%r record=%d", receipt.status, event.name, event.task_id, receipt.record_id)
            await _accept(send, _ANSWERS[receipt.status])

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self._lifecycle.enter()
        except MoragError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        except Exception as error:
            logger.exception("the receiver could not start")
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._lifecycle.leave()
        await send({"type": "lifespan.shutdown.complete"})


async def _accept(send: Send, answer: tuple[bytes, bytes]) -> None:
    body, length = answer
    # A list of its own each time: what stands around us may add to it.
    headers = [_JSON_HEADER, (b"content-length", length)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _answer(send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [_JSON_HEADER, length, *headers]})
    await send({"type": "http.response.body", "body": body})


def _rejection(code: str, problems: Any) -> bytes:
    return json.dumps({"status": "rejected", "code": code, "problems": list(problems)}).encode()


def _extra(rejected: DeliveryRejected) -> list[tuple[bytes, bytes]]:
    if isinstance(rejected, AuthenticationError):
        return [(b"www-authenticate", b"Bearer")]
    # The rest of such a body is not worth reading.
    return [(b"connection", b"close")] if rejected.status in {408, 413, 415} else []


def _take_token(scope: Scope, path: str) -> str:
    """What stands behind `/webhook/`, as it was spelt; it is taken out of the scope, from which servers log."""
    token, raw_path = path.removeprefix(_SIGNED), scope.get("raw_path")
    if raw_path is not None:
        # Decoded, other spellings (%2E) read the same. A URL of ours needs none.
        spelt = raw_path.partition(b"?")[0].decode("latin-1")
        token = token if spelt.endswith(_SIGNED + token) else spelt
    _hide_tokens(scope, scope["path"].removesuffix(path) + _SIGNED + REDACTED)
    return token


def _hide_tokens(scope: Scope, path: str) -> None:
    """Leaves no token in what servers put into their access logs once they are answered; `path` has none."""
    if path != scope["path"]:
        scope["path"], scope["raw_path"] = path, quote(path, errors="replace").encode()
    scope["query_string"] = redacted_bytes(scope["query_string"])


def _route_path(scope: Scope) -> str:
    """The path below where we are mounted."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in {"", "/"}:
        return path[len(root) :]
    return path
