"""The registry behind `@on`: which functions want which events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from morag_client.errors import ConfigurationError
from morag_client.events.types import Event
from morag_client.handlers.durations import in_seconds
from morag_client.handlers.handler import Handler, qualified_name
from morag_client.handlers.retry import RetryPolicy
from morag_client.handlers.subscription import Subscription, subscribe

E = TypeVar("E", bound=Event)
E2 = TypeVar("E2", bound=Event)
E3 = TypeVar("E3", bound=Event)
P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])


class EventDecorator(Protocol[E]):
    """Takes a function whose first parameter accepts the event, and returns it unchanged."""

    def __call__(self, function: Callable[Concatenate[E, P], R], /) -> Callable[Concatenate[E, P], R]: ...


class Decorator(Protocol):
    """Takes any function and returns it unchanged."""

    def __call__(self, function: F, /) -> F: ...


ErrorHook = Callable[..., Any]


class Registry:
    """Functions and the events they want; one is enough for most applications (see `morag_client.on`)."""

    def __init__(self) -> None:
        self._own: list[Handler] = []
        self._included: list[Registry] = []
        self._error_hooks: list[ErrorHook] = []
        self._dead_letter_hooks: list[ErrorHook] = []
        self._changes = 0

    # No call fits two of these, or mypy would give up on a lambda as `where`; and it takes the union of two or three
    # classes only where each has a variable of its own.
    @overload
    def on(
        self,
        event: type[E],
        /,
        *,
        name: str | None = None,
        where: Callable[[E], bool] | None = None,
        retry: RetryPolicy | None = None,
        timeout: float | timedelta | None = None,
    ) -> EventDecorator[E]: ...

    @overload
    def on(
        self,
        event: type[E],
        event2: type[E2],
        /,
        *,
        name: str | None = None,
        where: Callable[[E | E2], bool] | None = None,
        retry: RetryPolicy | None = None,
        timeout: float | timedelta | None = None,
    ) -> EventDecorator[E | E2]: ...

    @overload
    def on(
        self,
        event: type[E],
        event2: type[E2],
        event3: type[E3],
        /,
        *,
        name: str | None = None,
        where: Callable[[E | E2 | E3], bool] | None = None,
        retry: RetryPolicy | None = None,
        timeout: float | timedelta | None = None,
    ) -> EventDecorator[E | E2 | E3]: ...

    @overload
    def on(
        self,
        event: type[E],
        event2: type[E],
        event3: type[E],
        event4: type[E],
        /,
        *events: type[E],
        name: str | None = None,
        where: Callable[[E], bool] | None = None,
        retry: RetryPolicy | None = None,
        timeout: float | timedelta | None = None,
    ) -> EventDecorator[E]: ...

    @overload
    def on(
        self,
        event: str | Iterable[str | type[Event]],
        /,
        *events: str | type[Event] | Iterable[str | type[Event]],
        name: str | None = None,
        where: Callable[[Any], bool] | None = None,
        retry: RetryPolicy | None = None,
        timeout: float | timedelta | None = None,
    ) -> Decorator: ...

    @overload
    def on(
        self,
        event: type[Event],
        event2: str | Iterable[str | type[Event]],
        /,
        *events: str | type[Event] | Iterable[str | type[Event]],
        name: str | None = None,
        where: Callable[[Any], bool] | None = None,
        retry: RetryPolicy | None = None,
        timeout: float | timedelta | None = None,
    ) -> Decorator: ...

    def on(
        self,
        *events: Any,
        name: str | None = None,
        where: Callable[[Any], bool] | None = None,
        retry: RetryPolicy | None = None,
        timeout: float | timedelta | None = None,
    ) -> Any:
        """Registers the decorated function for events, given as classes, names, patterns or lists of them.

        `"chunking"` means `"chunking.*"`, `*` stands for any characters, `"task_completed"` is understood.
        `name` is the handler's identity in the inbox (default: its qualified name); `where` decides per event.
        `retry` says when it runs again after a failure, `timeout` (seconds or a timedelta) how long it may take; the
        defaults are the receiver's.
        The decorated function takes the event and, by annotation, a Context, an AsyncSession or the Receiver.
        """
        return self._decorator(subscribe(events, where), name=name, retry=retry, timeout=timeout)

    def include(self, other: Registry) -> None:
        """Takes in the handlers of another registry, those it gets later too."""
        if not isinstance(other, Registry):
            raise ConfigurationError(f"a registry includes other registries, not {other!r}")
        if other is self or self in other.registries():
            raise ConfigurationError("a registry cannot include itself")
        self._included.append(other)
        self._changed()

    def on_error(self, hook: F) -> F:
        """Registers a function called as `hook(error, context)` whenever a run of a handler fails; plain or async."""
        self._error_hooks.append(hook)
        return hook

    def on_dead_letter(self, hook: F) -> F:
        """Registers a function called as `hook(error, context)` once when a run gives up; plain or async.

        `error` is what the last attempt raised.
        """
        self._dead_letter_hooks.append(hook)
        return hook

    def registries(self) -> Iterator[Registry]:
        """The registry itself and all included ones, each once."""
        seen: list[Registry] = []
        waiting = [self]
        while waiting:
            registry = waiting.pop(0)
            if registry not in seen:
                seen.append(registry)
                waiting.extend(registry._included)  # noqa: SLF001  # of our own class
        return iter(seen)

    @property
    def changes(self) -> int:
        """A number that grows whenever a handler is added here or in an included registry."""
        return sum(registry._changes for registry in self.registries())  # noqa: SLF001  # of our own class

    @property
    def handlers(self) -> list[Handler]:
        """All handlers, included ones too, in the order of registration."""
        return [handler for registry in self.registries() for handler in registry._own]  # noqa: SLF001

    @property
    def error_hooks(self) -> list[ErrorHook]:
        """All error hooks, included ones too."""
        return [hook for registry in self.registries() for hook in registry._error_hooks]  # noqa: SLF001

    @property
    def dead_letter_hooks(self) -> list[ErrorHook]:
        """All dead-letter hooks, included ones too."""
        return [hook for registry in self.registries() for hook in registry._dead_letter_hooks]  # noqa: SLF001

    def _decorator(
        self,
        subscription: Subscription,
        *,
        name: str | None,
        retry: RetryPolicy | None,
        timeout: float | timedelta | None,
    ) -> Decorator:
        _check_name(name)
        _check_retry(retry)
        seconds = _timeout_seconds(timeout)

        def register(function: F) -> F:
            self._add(Handler(name or qualified_name(function), function, (subscription,), retry, seconds))
            return function

        return register

    def _add(self, handler: Handler) -> None:
        for at, known in enumerate(self._own):
            # Stacked decorators are one handler that wants more.
            if known.name == handler.name and known.function is handler.function:
                self._own[at] = handler.stacked_on(known)
                break
        else:
            self._own.append(handler)
        self._changed()

    def _changed(self) -> None:
        self._changes += 1


def _check_name(name: object) -> None:
    if name is not None and not (isinstance(name, str) and name):
        raise ConfigurationError(f"a handler's name= is a string that is not empty, not {name!r}")


def _check_retry(retry: object) -> None:
    if retry is not None and not isinstance(retry, RetryPolicy):
        raise ConfigurationError(f"retry= takes a RetryPolicy, as in RetryPolicy(attempts=3, first=10), not {retry!r}")


def _timeout_seconds(timeout: object) -> float | None:
    if timeout is None:
        return None
    seconds = in_seconds(timeout, of="a handler's timeout=")
    if seconds <= 0:
        raise ConfigurationError(
            f"a handler's timeout= is more than 0 seconds, not {seconds:g}; leave it out for the receiver's default"
        )
    return seconds


default_registry = Registry()
on = default_registry.on
