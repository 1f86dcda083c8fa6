"""Looking at the handlers' signatures once, when a receiver is built: what each is to be given, and what cannot be."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from morag_client.errors import ConfigurationError
from morag_client.events.types import Event
from morag_client.handlers.context import Context
from morag_client.handlers.registry import Handler

Supply = Literal["event", "context", "receiver"]


@dataclass(frozen=True, slots=True)
class BoundHandler:
    """A handler and what its parameters are given, by name."""

    handler: Handler
    supplies: Mapping[str, Supply]
    is_async: bool

    @property
    def name(self) -> str:
        return self.handler.name

    def wants(self, event: Event) -> bool:
        """Whether the handler is to run for the event. Raises whatever its `where` raises."""
        return any(
            subscription.wants(event) and (subscription.where is None or subscription.where(event))
            for subscription in self.handler.subscriptions
        )

    def call(self, context: Context) -> Any:
        """Calls the function; for an async one the result is a coroutine."""
        given = {"event": context.event, "context": context, "receiver": context.receiver}
        positional, named = [], {}
        for parameter, supply in self.supplies.items():
            if parameter.startswith("*"):
                named[parameter[1:]] = given[supply]
            else:
                positional.append(given[supply])
        return self.handler.function(*positional, **named)


def bind(handlers: Iterable[Handler], *, receiver_type: type) -> list[BoundHandler]:
    """Every handler, ready to be called.

    Raises ConfigurationError for two handlers of one name, a parameter that cannot be supplied, an annotation that
    cannot be resolved, and an event annotation that the handler's events do not fit.
    """
    handlers = list(handlers)
    alike = [name for name, count in Counter(handler.name for handler in handlers).items() if count > 1]
    if alike:
        raise ConfigurationError(
            f"two handlers are named {alike[0]!r}; a handler's name is its identity in the inbox:"
            " give one of them another with @on(…, name=…)"
        )
    return [_bind(handler, receiver_type) for handler in handlers]


def _bind(handler: Handler, receiver_type: type) -> BoundHandler:
    supplies: dict[str, Supply] = {}
    for parameter, annotation in _parameters(handler):
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
            continue
        supply = _supply(annotation, receiver_type)
        if supply is None and "event" not in supplies.values() and annotation is parameter.empty:
            supply = "event"
        if supply is None:
            if parameter.default is not parameter.empty:
                continue
            raise ConfigurationError(
                f"handler {handler.name!r} has a parameter {parameter.name!r}"
                f" ({_shown(annotation)}) that cannot be supplied; a handler takes the event and,"
                " by annotation, Context or Receiver"
            )
        if supply == "event":
            _check_event(handler, annotation)
        keyword_only = parameter.kind is parameter.KEYWORD_ONLY
        supplies[f"*{parameter.name}" if keyword_only else parameter.name] = supply
    return BoundHandler(handler, supplies, _is_async(handler.function))


def _parameters(handler: Handler) -> list[tuple[inspect.Parameter, Any]]:
    function = handler.function
    try:
        signature = inspect.signature(function)
        hints = typing.get_type_hints(_annotated(function))
    except NameError as error:
        raise ConfigurationError(
            f"an annotation of handler {handler.name!r} cannot be resolved: {error};"
            " import the name at the top of its module, not only under TYPE_CHECKING"
        ) from error
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"the signature of handler {handler.name!r} cannot be read: {error}") from error
    return [(parameter, hints.get(name, parameter.empty)) for name, parameter in signature.parameters.items()]


def _annotated(function: Callable[..., Any]) -> Any:
    """The object that carries the annotations of a function, a partial or a callable object."""
    while isinstance(function, functools.partial):
        function = function.func
    plain = inspect.isfunction(function) or inspect.ismethod(function) or inspect.isbuiltin(function)
    return function if plain else type(function).__call__


def _supply(annotation: Any, receiver_type: type) -> Supply | None:
    if annotation in {Any, object} or _event_classes(annotation):
        return "event"
    if isinstance(annotation, type) and issubclass(annotation, Context):
        return "context"
    return "receiver" if isinstance(annotation, type) and issubclass(receiver_type, annotation) else None


def _event_classes(annotation: Any) -> tuple[type[Event], ...]:
    """The event classes an annotation admits: of a class itself, or of a union of them."""
    if isinstance(annotation, type):
        return (annotation,) if issubclass(annotation, Event) else ()
    if isinstance(annotation, typing.TypeVar):
        bound = annotation.__constraints__ or (annotation.__bound__,)
        return tuple(cls for part in bound for cls in _event_classes(part))
    if typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        return tuple(cls for part in typing.get_args(annotation) for cls in _event_classes(part))
    return ()


def _check_event(handler: Handler, annotation: Any) -> None:
    accepted = _event_classes(annotation)
    if not accepted:
        return
    for subscription in handler.subscriptions:
        misfits = sorted(cls.__name__ for cls in subscription.producible() if not issubclass(cls, accepted))
        if misfits:
            wanted = ", ".join([*subscription.patterns, *(cls.__name__ for cls in subscription.classes)])
            raise ConfigurationError(
                f"handler {handler.name!r} is annotated to take {_shown(annotation)}, but {wanted} also means or only"
                f" means {', '.join(misfits[:4])}{'…' if len(misfits) > 4 else ''};"  # noqa: PLR2004
                " annotate a class that covers them all (Event does), or ask for other events"
            )


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _shown(annotation: Any) -> str:
    if annotation is inspect.Parameter.empty:
        return "without annotation"
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)
