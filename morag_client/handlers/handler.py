"""What a function is once it is registered."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from morag_client.errors import ConfigurationError
from morag_client.handlers.retry import RetryPolicy
from morag_client.handlers.subscription import Subscription

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Handler:
    """A user's function under its stable name, with everything it subscribed to.

    `retry` and `timeout` (seconds) are None where the receiver's hold.
    """

    name: str
    function: Callable[..., Any]
    subscriptions: tuple[Subscription, ...]
    retry: RetryPolicy | None = None
    timeout: float | None = None

    def stacked_on(self, below: Handler) -> Handler:
        """The one handler that two decorators of a function make. Raises ConfigurationError where they disagree."""
        return Handler(
            self.name,
            self.function,
            (*self.subscriptions, *below.subscriptions),
            _agreed("retry", self.name, self.retry, below.retry),
            _agreed("timeout", self.name, self.timeout, below.timeout),
        )


def qualified_name(function: Callable[..., Any]) -> str:
    """The name of a handler that was given none: its module's and its own."""
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    name = getattr(inner, "__qualname__", None) or type(inner).__qualname__
    return f"{getattr(inner, '__module__', None) or type(inner).__module__}.{name}"


def _agreed(option: str, name: str, one: T | None, other: T | None) -> T | None:
    if one is not None and other is not None and one != other:
        raise ConfigurationError(
            f"the decorators of handler {name!r} say {option}={other!r} and {option}={one!r}, but stacked they make one"
            f" handler: give {option}= in one of them, or each a name= of its own"
        )
    return other if one is None else one
