"""What a handler's parameters are given, and what is refused when a receiver is built."""

from __future__ import annotations

import asyncio
import functools
import importlib.util
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Optional, TypeVar, Union

import deliveries
import pytest
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from morag_client import (
    ChunkingCompleted,
    ConfigurationError,
    Context,
    Event,
    IngestionCompleted,
    Receiver,
    Registry,
    StepCompleted,
    StepEvent,
    TaskCompleted,
    TaskEvent,
    TaskFailed,
    UnknownEvent,
)
from morag_client.handlers.binding import BoundHandler, bind

E = TypeVar("E", bound=StepEvent)
S = TypeVar("S", bound=AsyncSession)
CONTEXT = Context(
    event=deliveries.event("chunking.completed"),
    record_id=7,
    attempt=1,
    received_at=datetime.now(UTC),
    sequence=1,
    is_late=False,
    task=None,
    body=b"{}",
    receiver=object(),
)
EVENT, RECEIVER = CONTEXT.event, CONTEXT.receiver


def bound(function: Callable[..., Any], *events: Any) -> BoundHandler:
    registry = Registry()
    registry.on(*events or ("chunking.completed",), name="the handler")(function)
    return bind(registry.handlers, receiver_type=Receiver)[0]


def called(function: Callable[..., Any], *events: Any) -> Any:
    """What a function returns that is called as a handler."""
    result = bound(function, *events).call(CONTEXT)
    return asyncio.run(result) if asyncio.iscoroutine(result) else result


def refused(function: Callable[..., Any], *events: Any) -> str:
    with pytest.raises(ConfigurationError, match="'the handler'") as caught:
        bound(function, *events)
    return str(caught.value)


async def by_annotation(receiver: Receiver, context: Context, event: Event) -> tuple[Any, ...]:
    return event, context, receiver


def keywords_only(*, context: Context, event: ChunkingCompleted) -> tuple[Any, ...]:
    return event, context


def positions_only(event, context: Context, /):
    return event, context


def behind_a_default(event, flag=False, context: Context = None):
    return event, context, flag


def two_behind(event, flag=False, *, context: Context, other=3):
    return event, context, flag, other


def test_injection_by_annotation_in_any_order() -> None:
    assert called(by_annotation) == (EVENT, CONTEXT, RECEIVER)
    assert called(keywords_only) == (EVENT, CONTEXT)
    assert called(positions_only) == (EVENT, CONTEXT)


def test_parameters_with_defaults_keep_them_and_shift_nobody() -> None:
    assert called(behind_a_default) == (EVENT, CONTEXT, False)
    assert called(two_behind) == (EVENT, CONTEXT, False, 3)
    assert called(lambda event, times=2: (event, times)) == (EVENT, 2)


def test_the_event_goes_where_it_is_annotated_before_where_nothing_is() -> None:
    def handle(context=None, *, event: Event):
        return context, event

    assert called(handle) == (None, EVENT)


def test_optional_parameters_are_supplied() -> None:
    def handle(event: Optional[Event], context: Context | None = None, receiver: Union[Receiver, None] = None):  # noqa: UP007, UP045
        return event, context, receiver

    assert called(handle) == (EVENT, CONTEXT, RECEIVER)


def test_annotated_and_unannotated_and_anything() -> None:
    def annotated(event: Annotated[Event, "how it came"], more: Annotated[Context, []]):
        return event, more

    def anything(event: Any):
        return event

    def object_(event: object):
        return event

    assert called(annotated) == (EVENT, CONTEXT)
    assert called(anything) == called(object_) == called(lambda event: event) == EVENT


def test_a_function_without_parameters_is_called_without() -> None:
    assert called(lambda: "called") == "called"


def test_a_wrapper_that_takes_anything_gets_the_event() -> None:
    def handle(*args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    def bare(*args, **kwargs):
        return args, kwargs

    assert called(handle) == called(bare) == ((EVENT,), {})


def test_a_wrapped_function_is_seen_through() -> None:
    def twice(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs), function(*args, **kwargs)

        return wrapper

    assert called(twice(keywords_only)) == ((EVENT, CONTEXT), (EVENT, CONTEXT))


class Handlers:
    def plain(self, event: ChunkingCompleted, context: Context) -> Any:
        return event, context

    async def later(self, event: Event) -> Any:
        return event

    @classmethod
    def of_class(cls, event: Event) -> Any:
        return cls, event

    @staticmethod
    def static(event: Event) -> Any:
        return event

    def __call__(self, event: Event, context: Context) -> Any:
        return event, context


class Later:
    async def __call__(self, event: Event) -> Any:
        return event


def test_methods_callable_objects_and_partials() -> None:
    def keep(kept: list[Any], event: Event, *, context: Context) -> Any:
        return kept, event, context

    kept: list[Any] = []
    assert called(Handlers().plain) == (EVENT, CONTEXT)
    assert called(Handlers.of_class) == (Handlers, EVENT)
    assert called(Handlers.static) == EVENT
    assert called(Handlers()) == (EVENT, CONTEXT)
    assert called(functools.partial(keep, kept)) == (kept, EVENT, CONTEXT)
    assert called(functools.partial(functools.partial(keep), kept)) == (kept, EVENT, CONTEXT)
    assert called(functools.partial(Handlers())) == (EVENT, CONTEXT)
    bound(kept.append).call(CONTEXT)
    assert kept == [EVENT]


@pytest.mark.parametrize(
    ("function", "is_async"),
    [
        (by_annotation, True),
        (functools.partial(by_annotation), True),
        (Handlers().later, True),
        (Later(), True),
        (Handlers().plain, False),
        (Handlers(), False),
        (keywords_only, False),
    ],
)
def test_which_functions_are_async(function: Callable[..., Any], is_async: bool) -> None:
    assert bound(function).is_async is is_async


@pytest.mark.parametrize(
    "function",
    [
        lambda event, other: None,
        lambda event, /, other: None,
        lambda event, *, other: None,
    ],
)
def test_a_parameter_that_cannot_be_supplied_is_named(function: Callable[..., Any]) -> None:
    assert "'other' (without annotation) that cannot be supplied" in refused(function)


def test_a_parameter_of_a_foreign_type_cannot_be_supplied() -> None:
    def numbered(event: Event, number: int) -> None: ...

    def listed(event: Event, session: list[int]) -> None: ...

    def only_a_list(events: list[Event]) -> None: ...

    assert "'number' (int)" in refused(numbered)
    assert "'session' (list[int])" in refused(listed)
    assert "'events' (list[" in refused(only_a_list)


def test_a_position_behind_a_default_cannot_be_reached() -> None:
    def handle(number: int = 3, event: Event = None, /) -> None: ...

    assert "cannot be supplied" in refused(handle)


async def with_a_session(event: Event, session: AsyncSession, context: Context) -> tuple[Any, ...]:
    return event, session, context


async def by_keyword_only(event, flag=False, *, db: AsyncSession | None = None) -> tuple[Any, ...]:
    return event, db, flag


async def of_a_type_variable(event, session: S) -> tuple[Any, ...]:
    return event, session


class WithASession:
    async def __call__(self, event: Event, session: Annotated[AsyncSession, "ours"]) -> tuple[Any, ...]:
        return event, session


@pytest.mark.parametrize(
    ("function", "rest"),
    [
        (with_a_session, (CONTEXT,)),
        (by_keyword_only, (False,)),
        (of_a_type_variable, ()),
        (WithASession(), ()),
        (functools.partial(with_a_session), (CONTEXT,)),
    ],
)
def test_an_async_handler_may_take_a_session(function: Callable[..., Any], rest: tuple[Any, ...]) -> None:
    handler, session = bound(function), AsyncSession()

    assert handler.takes_session
    assert asyncio.run(handler.call(CONTEXT, session)) == (EVENT, session, *rest)


def test_who_asks_for_no_session_gets_none() -> None:
    assert not bound(by_annotation).takes_session
    assert asyncio.run(bound(by_annotation).call(CONTEXT, AsyncSession())) == (EVENT, CONTEXT, RECEIVER)


def test_a_plain_function_cannot_take_a_session() -> None:
    def plain(event: Event, session: AsyncSession) -> None: ...

    def optional(event: Event, session: AsyncSession | None = None) -> None: ...

    @functools.wraps(with_a_session)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return with_a_session(*args, **kwargs)

    for function in (plain, optional, wrapped, functools.partial(plain)):
        assert "write `async def`" in refused(function)


class Transaction(AsyncSession):
    pass


def test_a_session_of_another_class_cannot_be_supplied() -> None:
    async def sub(event: Event, session: Transaction) -> None: ...

    async def optional(event: Event, session: Transaction | None = None) -> None: ...

    async def synchronous(event: Event, session: Session) -> None: ...

    for function in (sub, optional):
        assert "Transaction" in refused(function)
        assert "sqlalchemy.ext.asyncio.AsyncSession; annotate that" in refused(function)
    assert "'session' (Session) that cannot be supplied" in refused(synchronous)


MODULE = """
from __future__ import annotations
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from morag_client import {hidden}
from morag_client import {seen}

async def handle(event: Event, context: "Context") -> tuple[Event, Context]:
    return event, context
"""


def handler_of_module(source: str, folder: Path) -> Any:
    path = folder / "module_of_a_user.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location("module_of_a_user", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.handle


def test_forward_references_are_resolved(tmp_path: Path) -> None:
    assert called(handler_of_module(MODULE.format(hidden="Registry", seen="Event, Context"), tmp_path)) == (
        *(EVENT, CONTEXT),
    )


@pytest.mark.parametrize(("hidden", "seen"), [("Event", "Context"), ("Context", "Event")])
def test_names_only_under_type_checking_are_refused_with_the_way_out(tmp_path: Path, hidden: str, seen: str) -> None:
    said = refused(handler_of_module(MODULE.format(hidden=hidden, seen=seen), tmp_path))

    assert f"name '{hidden}' is not defined" in said
    assert "not only under TYPE_CHECKING" in said


@pytest.mark.parametrize("annotation", ["deliveries.Missing", "not an expression", "1 / 0", "Context["])
def test_annotations_that_raise_are_refused(annotation: str) -> None:
    def handle(event: Event, more: Any) -> None: ...

    handle.__annotations__["more"] = annotation

    assert "cannot be read" in refused(handle)


def generator(event: Event) -> Iterator[None]:
    yield


async def async_generator(event: Event) -> AsyncIterator[None]:
    yield


class Generating:
    def __call__(self, event: Event) -> Iterator[None]:
        yield


@pytest.mark.parametrize("function", [generator, async_generator, functools.partial(generator), Generating()])
def test_a_generator_would_never_run(function: Callable[..., Any]) -> None:
    assert "is a generator" in refused(function)


def wants_chunks(event: ChunkingCompleted) -> None: ...


def wants_ends(event: TaskCompleted | TaskFailed) -> None: ...


def wants_steps(event: E) -> None: ...


@pytest.mark.parametrize(
    ("function", "events"),
    [
        (wants_chunks, ["chunking.completed"]),
        (wants_chunks, [ChunkingCompleted]),
        (wants_ends, ["task.completed", TaskFailed]),
        (wants_ends, ["task_failed"]),
        (wants_steps, ["chunking"]),
        (wants_steps, ["chunking", StepCompleted, IngestionCompleted]),
        (by_annotation, ["*"]),
    ],
)
def test_an_event_annotation_that_fits(function: Callable[..., Any], events: list[Any]) -> None:
    bound(function, *events)


@pytest.mark.parametrize(
    ("function", "events", "misfit"),
    [
        (wants_chunks, ["chunking.started"], "ChunkingStarted"),
        (wants_chunks, ["chunking"], "ChunkingFailed, ChunkingStarted"),
        (wants_chunks, ["chunking.completed", "ingestion.completed"], "IngestionCompleted"),
        (wants_chunks, [StepCompleted], "StepCompleted"),
        (wants_chunks, ["*"], "…"),
        (wants_ends, ["*.failed"], "ChunkingFailed"),
        (wants_ends, [TaskEvent], "TaskProgress"),
        (wants_steps, ["task.completed"], "TaskCompleted"),
        (wants_steps, ["unknown"], "UnknownEvent"),
    ],
)
def test_an_event_annotation_that_the_events_do_not_fit(
    function: Callable[..., Any], events: list[Any], misfit: str
) -> None:
    assert misfit in refused(function, *events)


def test_every_stacked_subscription_has_to_fit() -> None:
    registry = Registry()
    registry.on("chunking.completed", name="the handler")(registry.on("unknown", name="the handler")(wants_chunks))

    with pytest.raises(ConfigurationError, match=UnknownEvent.__name__):
        bind(registry.handlers, receiver_type=Receiver)


def test_two_handlers_of_one_name_are_refused() -> None:
    registry, other = Registry(), Registry()
    registry.include(other)
    registry.on("chunking", name="index")(lambda event: None)
    other.on("ingestion", name="index")(lambda event: None)

    with pytest.raises(ConfigurationError, match=r"two handlers are named 'index'.*name="):
        bind(registry.handlers, receiver_type=Receiver)


@pytest.mark.parametrize("name", ["x" * 256, "NUL\0"])
def test_a_name_that_cannot_be_stored_is_refused(name: str) -> None:
    registry = Registry()
    registry.on("*", name=name)(lambda event: None)

    with pytest.raises(ConfigurationError, match="cannot be stored"):
        bind(registry.handlers, receiver_type=Receiver)


def test_a_receiver_is_not_built_with_what_cannot_be_bound() -> None:
    registry = Registry()
    registry.on("unknown", name="the handler")(wants_chunks)

    with pytest.raises(ConfigurationError, match="'the handler'"):
        Receiver(registry=registry, secrets="x", database_url="sqlite:///never.db")
