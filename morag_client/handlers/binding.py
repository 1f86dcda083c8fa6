"""Looking at the handlers' signatures once, when a receiver is built: what each is to be given, and what cannot be."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy.ext.asyncio import AsyncSession

from morag_client.errors import ConfigurationError
from morag_client.events.types import Event
from morag_client.handlers.context import Context
from morag_client.handlers.handler import Handler

Supply = Literal["event", "context", "session", "receiver"]

_NAME_LENGTH: Final = 255
_VARIADIC: Final = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}


@dataclass(frozen=True, slots=True)
class BoundHandler:
    """A handler and what its parameters are given, by position and by name.

    One that `takes_session` is async, and is to be called with the session of a transaction of its own.
    """

    handler: Handler
    positional: Sequence[Supply]
    named: Mapping[str, Supply]
    is_async: bool
    takes_session: bool
    has_conditions: bool

    @property
    def name(self) -> str:
        return self.handler.name

    def wants(self, event: Event) -> bool:
        """Whether the handler is to run for the event, which is one it asks for. Raises whatever its `where` raises."""
        if not self.has_conditions:
            return True
        return any(
            subscription.wants(event) and (subscription.where is None or subscription.where(event))
            for subscription in self.handler.subscriptions
        )

    def call(self, context: Context, session: AsyncSession | None = None) -> Any:
        """Calls the function; for an async one the result is a coroutine."""
        given = {"event": context.event, "context": context, "session": session, "receiver": context.receiver}
        return self.handler.function(
            *[given[supply] for supply in self.positional],
            **{name: given[supply] for name, supply in self.named.items()},
        )


def bind(handlers: Iterable[Handler], *, receiver_type: type) -> list[BoundHandler]:
    """Every handler, ready to be called.

    Raises ConfigurationError for two handlers of one name, a parameter that cannot be supplied, an annotation that
    cannot be resolved, an event annotation that the handler's events do not fit, and a plain function that wants a
    session.
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
    _check_function(handler)
    parameters = _parameters(handler)
    supplies = {
        parameter.name: None if parameter.kind is parameter.VAR_KEYWORD else _supply(annotation, receiver_type)
        for parameter, annotation in parameters
    }
    _supply_unannotated_event(parameters, supplies)
    positional: list[Supply] = []
    named: dict[str, Supply] = {}
    has_gap = False
    for parameter, annotation in parameters:
        supply = supplies[parameter.name]
        _check_supply(handler, supply, annotation)
        if supply is None and (parameter.default is not parameter.empty or parameter.kind in _VARIADIC):
            has_gap = True
            continue
        if supply is None or (has_gap and parameter.kind is parameter.POSITIONAL_ONLY):
            raise ConfigurationError(
                f"handler {handler.name!r} has a parameter {parameter.name!r} ({_shown(annotation)}) that cannot be"
                " supplied; a handler takes the event and, by annotation, Context, AsyncSession or Receiver"
            )
        # Behind a parameter that keeps its default, only a name finds the right one.
        if parameter.kind is parameter.KEYWORD_ONLY or (has_gap and parameter.kind is parameter.POSITIONAL_OR_KEYWORD):
            named[parameter.name] = supply
        else:
            positional.append(supply)
    return BoundHandler(
        handler,
        positional,
        named,
        is_async=_is_async(handler.function),
        takes_session="session" in supplies.values(),
        has_conditions=any(subscription.where is not None for subscription in handler.subscriptions),
    )


def _check_function(handler: Handler) -> None:
    inner = handler.function
    while isinstance(inner, functools.partial):
        inner = inner.func
    inner = inner if inspect.isroutine(inner) else getattr(inner, "__call__", inner)  # noqa: B004
    if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        raise ConfigurationError(
            f"handler {handler.name!r} is a generator: calling it runs none of it; take the yield out"
        )
    if len(handler.name) > _NAME_LENGTH or "\0" in handler.name:
        raise ConfigurationError(
            f"the handler's name {handler.name[:80]!r}… cannot be stored; give a shorter one with @on(…, name=…)"
        )


def _supply_unannotated_event(
    parameters: Iterable[tuple[inspect.Parameter, Any]], supplies: dict[str, Supply | None]
) -> None:
    """Where no annotation asks for the event, the first parameter without one takes it."""
    if "event" in supplies.values():
        return
    for parameter, annotation in parameters:
        if annotation is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD:
            supplies[parameter.name] = "event"
            return


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
    except Exception as error:  # an annotation is the user's expression, and may raise anything
        raise ConfigurationError(f"the signature of handler {handler.name!r} cannot be read: {error}") from error
    return [(parameter, hints.get(name, parameter.empty)) for name, parameter in signature.parameters.items()]


def _annotated(function: Callable[..., Any]) -> Any:
    """The object that carries the annotations of a function, a partial or a callable object."""
    while isinstance(function, functools.partial):
        function = function.func
    plain = inspect.isfunction(function) or inspect.ismethod(function) or inspect.isbuiltin(function)
    return function if plain else type(function).__call__


def _supply(annotation: Any, receiver_type: type) -> Supply | None:
    if annotation is Any or annotation is object or _event_classes(annotation):
        return "event"
    classes = _classes(annotation)
    if any(issubclass(cls, Context) for cls in classes):
        return "context"
    if AsyncSession in classes:
        return "session"
    return "receiver" if any(cls is not object and issubclass(receiver_type, cls) for cls in classes) else None


def _event_classes(annotation: Any) -> tuple[type[Event], ...]:
    return tuple(cls for cls in _classes(annotation) if issubclass(cls, Event))


def _classes(annotation: Any) -> tuple[type, ...]:
    """The classes an annotation admits: itself, the members of a union, what a type variable may stand for."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return (annotation,)
    if isinstance(annotation, typing.TypeVar):
        bound = annotation.__constraints__ or (annotation.__bound__,)
        return tuple(cls for part in bound for cls in _classes(part))
    if typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        return tuple(cls for part in typing.get_args(annotation) for cls in _classes(part))
    return ()


def _check_supply(handler: Handler, supply: Supply | None, annotation: Any) -> None:
    if supply == "event":
        _check_event(handler, annotation)
    elif supply == "session":
        _check_session(handler)
    # Even where it has a default: who asks for a session must not find out in production that there is none.
    elif any(issubclass(cls, AsyncSession) for cls in _classes(annotation)):
        raise ConfigurationError(
            f"handler {handler.name!r} asks for {_shown(annotation)}, which cannot be supplied: its transaction is a"
            " plain sqlalchemy.ext.asyncio.AsyncSession; annotate that"
        )


def _check_session(handler: Handler) -> None:
    if not _is_async(handler.function):
        raise ConfigurationError(
            f"handler {handler.name!r} is a plain function and takes an AsyncSession, which only an async def can use:"
            " write `async def`, also for what a decorator of yours puts around it"
        )


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
