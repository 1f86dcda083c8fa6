"""Which events one `@on` asks for."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from morag_client.errors import ConfigurationError, MoragWarning
from morag_client.events.catalog import KNOWN, canonical_pattern, is_known, matches, nearest_known, producible
from morag_client.events.types import Event


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


def subscribe(events: Iterable[Any], where: Callable[[Any], bool] | None) -> Subscription:
    """What `@on(*events, where=where)` asks for; to be called by `on` itself, whose caller is warned.

    Raises ConfigurationError for what is no event, and where nothing is asked for.
    """
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
