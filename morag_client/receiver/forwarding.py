"""Registering what passes events on: handlers of this receiver, and of no other that has the same registry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from morag_client.errors import ConfigurationError
from morag_client.handlers.handler import Handler
from morag_client.handlers.registry import Registry
from morag_client.handlers.retry import RetryPolicy
from morag_client.handlers.subscription import Subscription
from morag_client.inbox.rows import now
from morag_client.wire.signature import Secret

if TYPE_CHECKING:
    from morag_client.forwarding.messages import Format

_SECONDS: Final = 30.0


class ForwardingRegistry(Registry):
    """The application's registry as it is, and behind its handlers those that pass events on."""

    def __init__(self, registry: Registry) -> None:
        super().__init__()
        self._theirs = registry
        self.include(registry)

    @property
    def handlers(self) -> list[Handler]:
        return [*self._theirs.handlers, *self._own]

    def forward(
        self,
        subscription: Subscription,
        *,
        to: str,
        format: Format,  # noqa: A002  # the public name
        secret: Secret | None,
        name: str | None,
        retry: RetryPolicy | None,
        timeout: float | timedelta | None,
        headers: Mapping[str, str] | None,
        allow_private: str | Iterable[str],
    ) -> str:
        """Registers the handler; its name, which has nothing of the URL but the host. Raises ConfigurationError."""
        # These bring the HTTP client, which a receiver that passes nothing on does not need.
        from morag_client.forwarding.forward import Forward  # noqa: PLC0415
        from morag_client.forwarding.posting import Poster  # noqa: PLC0415
        from morag_client.forwarding.target import target_of  # noqa: PLC0415

        target = target_of(to, allow_private=allow_private)
        named = f"forward:{target.shown}" if name is None else name
        forward = Forward(
            name=named, target=target, format=format, secret=secret, headers=headers or {}, poster=Poster(), clock=now
        )
        self._refuse_second(named)
        seconds = _SECONDS if timeout is None else timeout
        decorate: Callable[[Any], Any] = self._decorator(subscription, name=named, retry=retry, timeout=seconds)
        decorate(forward.handler)
        return named

    def _refuse_second(self, name: str) -> None:
        if any(handler.name == name for handler in self.handlers):
            raise ConfigurationError(
                f"there is a handler {name!r} already; give this one a name of its own: forward(…, name=…)"
            )
