"""The registry behind `@on`: which functions want which events."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from morag_client.errors import ConfigurationError, MoragWarning
from morag_client.events.catalog import KNOWN, canonical_pattern, is_known, matches, nearest_known, producible
from morag_client.events.types import Event

E = TypeVar("E", bound=Event)
E2 = TypeVar("E2", bound=Event)
E3 = TypeVar("E3", bound=Event)
P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])


class UnknownEventWarning(MoragWarning):
    """A handler asks for an event that no known MoRAG release sends."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """One `@on`: any of these events, where the condition holds. Patterns are canonical."""

    patterns: tuple[str, ...]
    classes: tuple[type[Event], ...]
    where: Callable[[Any], bool] | None = None

    def wants(self, event: Event) -> bool:
        """Whether the event is one of these, whatever the condition."""
        return isinstance(event, self.classes) or any(matches(pattern, event.name) for pattern in self.patterns)

    def producible(self) -> frozenset[type[Event]]:
        """Every class an event handed over by this subscription can have."""
        found = {cls for pattern in self.patterns for cls in producible(pattern)}
        known = set(KNOWN.values()) | producible("*")
        return frozenset(found | set(self.classes) | {cls for cls in known if issubclass(cls, self.classes)})


@dataclass(frozen=True, slots=True)
class Handler:
    """A user's function under its stable name, with everything it subscribed to."""

    name: str
    function: Callable[..., Any]
    subscriptions: tuple[Subscription, ...]


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
        self._changes = 0

    # No call fits two of these, or mypy would give up on a lambda as `where`; and it takes the union of two or three
    # classes only where each has a variable of its own.
    @overload
    def on(
        self, event: type[E], /, *, name: str | None = None, where: Callable[[E], bool] | None = None
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
    ) -> EventDecorator[E]: ...

    @overload
    def on(
        self,
        event: str | Iterable[str | type[Event]],
        /,
        *events: str | type[Event] | Iterable[str | type[Event]],
        name: str | None = None,
        where: Callable[[Any], bool] | None = None,
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
    ) -> Decorator: ...

    def on(self, *events: Any, name: str | None = None, where: Callable[[Any], bool] | None = None) -> Any:
        """Registers the decorated function for events, given as classes, names, patterns or lists of them.

        `"chunking"` means `"chunking.*"`, `*` stands for any characters, `"task_completed"` is understood.
        `name` is the handler's identity in the inbox (default: its qualified name); `where` decides per event.
        The decorated function takes the event and, by annotation, a Context or the Receiver.
        """
        called: object = name
        if called is not None and not (isinstance(called, str) and called):
            raise ConfigurationError(f"a handler's name= is a string that is not empty, not {called!r}")
        subscription = _subscription(events, where)

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            self._add(function, name or _qualified_name(function), subscription)
            return function

        return register

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

    def _changed(self) -> None:
        self._changes += 1

    def _add(self, function: Callable[..., Any], name: str, subscription: Subscription) -> None:
        self._changed()
        for at, handler in enumerate(self._own):
            # Stacked decorators are one handler that wants more.
            if handler.name == name and handler.function is function:
                self._own[at] = Handler(name, function, (subscription, *handler.subscriptions))
                return
        self._own.append(Handler(name, function, (subscription,)))


def _subscription(events: tuple[Any, ...], where: Callable[[Any], bool] | None) -> Subscription:
    patterns: list[str] = []
    classes: list[type[Event]] = []
    if where is not None and not callable(where):
        raise ConfigurationError(f"where= takes a function from an event to true or false, not {where!r}")
    for event in _flat(events):
        if isinstance(event, str) and event:
            patterns.append(_pattern(event))
        elif isinstance(event, type) and issubclass(event, Event):
            classes.append(event)
        else:
            raise ConfigurationError(
                f"@on takes event classes and names, not {event!r};"
                ' write @on("chunking.completed") or @on(ChunkingCompleted), with the parentheses'
            )
    if not patterns and not classes:
        raise ConfigurationError('@on() wants no event at all; write @on("*") for every event')
    return Subscription(tuple(patterns), tuple(classes), where)


def _flat(events: Iterable[Any]) -> Iterator[Any]:
    for event in events:
        if isinstance(event, (list, tuple, set, frozenset)):
            yield from _flat(event)
        else:
            yield event


def _pattern(name: str) -> str:
    pattern = canonical_pattern(name)
    if not is_known(pattern):
        warnings.warn(
            f"no known MoRAG release sends {name!r}; did you mean {nearest_known(pattern)!r}?",
            UnknownEventWarning,
            stacklevel=4,
        )
    return pattern


def _qualified_name(function: Callable[..., Any]) -> str:
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    name = getattr(inner, "__qualname__", None) or type(inner).__qualname__
    return f"{getattr(inner, '__module__', None) or type(inner).__module__}.{name}"


default_registry = Registry()
on = default_registry.on
