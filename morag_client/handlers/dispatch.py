"""Which handlers an event goes to."""

from __future__ import annotations

import functools
import logging
from types import CodeType
from typing import Final

from morag_client.errors import ConfigurationError
from morag_client.events.types import Event
from morag_client.handlers.binding import BoundHandler, bind
from morag_client.handlers.handler import Handler
from morag_client.handlers.registry import ErrorHook, Registry

_REMEMBERED: Final = 1024

logger = logging.getLogger("morag_client.handlers")


class Dispatcher:
    """The bound handlers of a registry, found by event; those registered later too, from the next event on."""

    def __init__(self, registry: Registry, *, receiver_type: type) -> None:
        self._registry = registry
        self._receiver_type = receiver_type
        self._handlers: list[Handler] = []
        self._bound: list[BoundHandler] = []
        self._by_name: dict[str, tuple[BoundHandler, ...]] = {}
        self._changes = -1
        self.refresh()

    def refresh(self) -> None:
        """Binds what the registry holds now. Raises ConfigurationError as `bind` does."""
        self._changes, handlers = self._registry.changes, self._registry.handlers
        if handlers != self._handlers:
            self._bound = bind(handlers, receiver_type=self._receiver_type)
            self._handlers = handlers
            self._by_name.clear()

    def candidates(self, event: Event) -> tuple[BoundHandler, ...]:
        """The handlers that ask for events of this name or class, in the order of registration.

        Whether one wants this very event is for its `where` to say.
        """
        if self._registry.changes != self._changes:
            try:
                self.refresh()
            except ConfigurationError as error:
                logger.error("handlers that were registered after the start are not called: %s", error)
        found = self._by_name.get(event.name)
        if found is None:
            found = tuple(
                bound
                for bound in self._bound
                if any(subscription.wants(event) for subscription in bound.handler.subscriptions)
            )
            # Senders may invent step names; they must not be able to fill the memory with them.
            if len(self._by_name) >= _REMEMBERED:
                self._by_name.clear()
            self._by_name[event.name] = found
        return found

    @property
    def handler_names(self) -> list[str]:
        return [bound.name for bound in self._bound]

    def codes(self) -> dict[CodeType, str]:
        """The code of each handler that runs in the event loop, with the handler's name."""
        found: dict[CodeType, str] = {}
        for bound in self._bound:
            inner = bound.handler.function
            while isinstance(inner, functools.partial):
                inner = inner.func
            code = getattr(inner, "__code__", None) or getattr(type(inner).__call__, "__code__", None)
            if bound.is_async and code is not None:
                found[code] = bound.name
        return found

    @property
    def error_hooks(self) -> list[ErrorHook]:
        return self._registry.error_hooks

    @property
    def dead_letter_hooks(self) -> list[ErrorHook]:
        return self._registry.dead_letter_hooks
