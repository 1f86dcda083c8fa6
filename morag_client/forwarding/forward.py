"""The handler that passes events on."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from morag_client.errors import ConfigurationError
from morag_client.events.types import Event
from morag_client.forwarding.answers import require_success
from morag_client.forwarding.guide import guide_object
from morag_client.forwarding.messages import Formatter, Message, message_of
from morag_client.forwarding.posting import Poster
from morag_client.forwarding.slack import slack_message
from morag_client.forwarding.target import Target
from morag_client.handlers.context import Context
from morag_client.wire.signature import HEADER as SIGNATURE, Secret, secret_keys, sign

DELIVERY_ID: Final = "X-MoRAG-Delivery-Id"
_FORMATS: Final[Mapping[str, Callable[[Event, datetime], dict[str, Any]]]] = {
    "morag": guide_object,
    "slack": slack_message,
}
_OURS: Final = frozenset(
    name.lower()
    for name in ("Host", "Content-Length", "Transfer-Encoding", "Connection", "Accept-Encoding", SIGNATURE, DELIVERY_ID)
)
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
_HEADER_VALUE: Final = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """Passes the events of one handler on to a target, under the name of the handler."""

    name: str
    target: Target
    format: str | Formatter
    secret: Secret | None = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    poster: Poster
    clock: Callable[[], datetime]

    def __post_init__(self) -> None:
        """Raises ConfigurationError, showing no secret, for what cannot be sent."""
        if not callable(self.format) and self.format not in _FORMATS:
            known = ", ".join(map(repr, _FORMATS))
            raise ConfigurationError(
                f"format= is {known} or a function from an event to what is sent, not {self.format!r}"
            )
        if self.secret is not None:
            secret_keys(self.secret)
        _check_headers(self.headers)

    @property
    def handler(self) -> Callable[..., Any]:
        """What is to be registered: a format that is a plain function may block, and runs in a thread."""
        is_plain = callable(self.format) and not (
            inspect.iscoroutinefunction(self.format)
            or inspect.iscoroutinefunction(getattr(self.format, "__call__", None))  # noqa: B004
        )
        return self.pass_on_from_thread if is_plain else self.pass_on

    async def pass_on(self, event: Event, context: Context) -> None:
        """Posts the event. Raises what the format raises, and ForwardingFailed."""
        await self._send(self._formatted(event, context), context)

    def pass_on_from_thread(self, event: Event, context: Context) -> Awaitable[None]:
        """Formats the event here; what is returned posts it, in the event loop."""
        return self._send(self._formatted(event, context), context)

    def _formatted(self, event: Event, context: Context) -> object:
        if callable(self.format):
            return self.format(event)
        return _FORMATS[self.format](event, context.received_at)

    async def _send(self, formatted: Any, context: Context) -> None:
        message = message_of(await formatted if inspect.isawaitable(formatted) else formatted)
        if message is None:
            return
        answer = await self.poster.post(self.target, message.body, list(self._headers(message, context).items()))
        require_success(answer, who=self.target.shown, secrets=self._secrets(), now=self.clock())

    def _headers(self, message: Message, context: Context) -> dict[str, str]:
        given = {"User-Agent": "morag-client", "Content-Type": message.content_type}
        theirs = {name.lower() for name in self.headers}
        headers = {name: value for name, value in given.items() if name.lower() not in theirs}
        headers |= {**self.headers, DELIVERY_ID: delivery_id(self.name, context)}
        return headers if self.secret is None else headers | {SIGNATURE: sign(message.body, self.secret)}

    def _secrets(self) -> list[str]:
        secret = self.secret.decode(errors="replace") if isinstance(self.secret, bytes) else self.secret
        said = [part for value in self.headers.values() for part in (value, *value.split())]
        return [*self.target.secrets, *said, *([] if secret is None else [secret])]


def delivery_id(name: str, context: Context) -> str:
    """The same for every attempt of a handler at a record, and different for any other: 32 hex digits.

    A record's number alone would be another event's in another inbox.
    """
    parts = [
        name,
        str(context.record_id),
        *(text for pair in sorted(context.event.correlation.items()) for text in pair),
    ]
    framed = b"".join(b"%d:%b" % (len(part), part) for part in (*(part.encode() for part in parts), context.body))
    return hashlib.blake2b(framed, digest_size=16).hexdigest()


def _check_headers(headers: object) -> None:
    if not isinstance(headers, Mapping):
        raise ConfigurationError("headers= takes a mapping from names to values")
    for name, value in headers.items():
        if not isinstance(name, str) or _HEADER_NAME.fullmatch(name) is None:
            raise ConfigurationError("headers= has a name that no header can have")
        if name.lower() in _OURS:
            raise ConfigurationError(f"headers= has {name}, which is not yours to say; leave it out")
        if not isinstance(value, str) or _HEADER_VALUE.fullmatch(value) is None:
            raise ConfigurationError(f"headers= has a {name} that no header can carry: printable ASCII, on one line")
