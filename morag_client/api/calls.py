"""Methods of the clients, made of endpoints: each public method is described once, for both clients."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, Final, Generic, ParamSpec, Protocol, TypeVar

from morag_client.api.async_driver import AsyncDriver
from morag_client.api.driver import Driver
from morag_client.api.endpoint import Course

P = ParamSpec("P")
Result = TypeVar("Result")

_ANSWER: Final = re.compile(r"\w+\[(.*)\]", re.DOTALL)


class Driven(Protocol):
    """What has a driver."""

    _driver: Driver


class AsyncDriven(Protocol):
    """What has a driver for event loops."""

    _driver: AsyncDriver


class Call(Generic[P, Result]):
    """A method that runs the call which a function describes, with that function's signature and docstring."""

    def __init__(self, describe: Callable[P, Course[Result]]) -> None:
        self._describe = describe

    def __get__(self, instance: Driven, owner: type[Any]) -> Callable[P, Result]:
        raise NotImplementedError  # a method stands in its place as soon as the class is made

    def __set_name__(self, owner: type[Any], name: str) -> None:
        describe = self._describe

        def method(self: Driven, /, *args: P.args, **kwargs: P.kwargs) -> Result:
            return self._driver.run(describe(*args, **kwargs))

        _place(owner, name, method, describe)


class AsyncCall(Generic[P, Result]):
    """A coroutine method that runs the call which a function describes, with its signature and docstring."""

    def __init__(self, describe: Callable[P, Course[Result]]) -> None:
        self._describe = describe

    def __get__(self, instance: AsyncDriven, owner: type[Any]) -> Callable[P, Coroutine[Any, Any, Result]]:
        raise NotImplementedError  # a method stands in its place as soon as the class is made

    def __set_name__(self, owner: type[Any], name: str) -> None:
        describe = self._describe

        async def method(self: AsyncDriven, /, *args: P.args, **kwargs: P.kwargs) -> Result:
            return await self._driver.run(describe(*args, **kwargs))

        _place(owner, name, method, describe)


def _place(
    owner: type[Any], name: str, method: Callable[Concatenate[Any, P], Any], describe: Callable[P, Course[Any]]
) -> None:
    """Puts the method into the class, looking like the function that describes it, and returning its answer."""
    functools.update_wrapper(method, describe)
    method.__name__, method.__qualname__, method.__module__ = name, f"{owner.__qualname__}.{name}", owner.__module__
    described = inspect.signature(describe)
    answer = _ANSWER.fullmatch(str(described.return_annotation))
    returned = answer[1] if answer else described.return_annotation
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    vars(method)["__signature__"] = described.replace(
        parameters=[itself, *described.parameters.values()], return_annotation=returned
    )
    method.__annotations__ = {**describe.__annotations__, "return": returned}
    setattr(owner, name, method)
