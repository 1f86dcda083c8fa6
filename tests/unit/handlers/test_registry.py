"""`@on`: which functions want which events."""

from __future__ import annotations

import functools
import math
import re
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import deliveries
import pytest

from morag_client import (
    ChunkingCompleted,
    ConfigurationError,
    Event,
    Receiver,
    Registry,
    RetryPolicy,
    StepCompleted,
    TaskCompleted,
    TaskEvent,
    UnknownEventWarning,
)
from morag_client.handlers.dispatch import Dispatcher
from morag_client.handlers.registry import default_registry, on

NAMES = (
    *("task.started", "task.progress", "task.completed", "task.failed"),
    *("chunking.started", "chunking.completed", "chunking.failed"),
    *("ingestion.completed", "ingestion.failed", "processing.failed", "my-own_step.completed", "unknown"),
)


def take(event: Any) -> None:
    pass


def wanted(*events: Any, **options: Any) -> set[str]:
    """The names of those events that a handler registered like this gets."""
    registry = Registry()
    registry.on(*events, **options)(take)
    dispatcher = Dispatcher(registry, receiver_type=Receiver)
    found = set()
    for name in NAMES:
        event = deliveries.event(name)
        assert event.name == name
        found |= {name for bound in dispatcher.candidates(event) if bound.wants(event)}
    return found


@pytest.mark.parametrize(
    ("events", "names"),
    [
        (["chunking.completed"], {"chunking.completed"}),
        (["chunking"], {"chunking.started", "chunking.completed", "chunking.failed"}),
        (["chunking.*"], {"chunking.started", "chunking.completed", "chunking.failed"}),
        (["*.failed"], {"task.failed", "chunking.failed", "ingestion.failed", "processing.failed"}),
        (["*"], set(NAMES)),
        (["unknown"], {"unknown"}),
        (["task_completed"], {"task.completed"}),
        (["task.completed", "task.failed"], {"task.completed", "task.failed"}),
        ([["task.completed", "chunking"]], {"task.completed"} | {n for n in NAMES if n.startswith("chunking")}),
        ([("task.completed",), ["unknown", {"task.failed"}]], {"task.completed", "unknown", "task.failed"}),
        ([ChunkingCompleted], {"chunking.completed"}),
        ([StepCompleted], {"chunking.completed", "ingestion.completed", "my-own_step.completed"}),
        ([TaskEvent], {name for name in NAMES if name.startswith("task.")}),
        ([Event], set(NAMES)),
        ([TaskCompleted, "*.failed"], {"task.completed"} | {n for n in NAMES if n.endswith(".failed")}),
    ],
)
def test_strings_classes_wildcards_and_lists(events: list[Any], names: set[str]) -> None:
    assert wanted(*events) == names


def test_a_condition_decides_per_event() -> None:
    assert wanted("*", where=lambda event: event.step == "ingestion") == {"ingestion.completed", "ingestion.failed"}


def test_the_decorator_returns_the_function_unchanged() -> None:
    assert Registry().on("chunking")(take) is take


def test_a_handlers_name_is_its_qualified_name_or_the_one_given() -> None:
    registry = Registry()

    class Index:
        def __call__(self, event: Event) -> None: ...

        def chunk(self, event: Event) -> None: ...

    registry.on("*")(take)
    registry.on("*", name="billing")(take)
    registry.on("*")(functools.partial(functools.partial(deliveries.delivery, b"")))
    registry.on("*")(Index())
    registry.on("*")(Index().chunk)

    here = f"{__name__}.test_a_handlers_name_is_its_qualified_name_or_the_one_given.<locals>.Index"
    assert [handler.name for handler in registry.handlers] == [
        *(f"{__name__}.take", "billing", "deliveries.delivery", here, f"{here}.chunk"),
    ]


def test_stacked_decorators_are_one_handler_that_wants_more() -> None:
    registry = Registry()

    @registry.on("chunking.completed", where=lambda event: event.task_id == "task-1")
    @registry.on("unknown")
    def handle(event: Event) -> None: ...

    [handler] = registry.handlers
    [bound] = Dispatcher(registry, receiver_type=Receiver).candidates(deliveries.event("unknown"))
    assert len(handler.subscriptions) == 2
    assert bound.wants(deliveries.event("unknown"))
    assert bound.wants(deliveries.event("chunking.completed", "task-1"))
    assert not bound.wants(deliveries.event("chunking.completed", "task-2"))


def test_a_handler_may_have_a_retry_policy_and_a_timeout_of_its_own() -> None:
    registry, policy = Registry(), RetryPolicy(attempts=3)

    registry.on("chunking", name="1", retry=policy, timeout=timedelta(minutes=2))(take)
    registry.on(ChunkingCompleted, name="2", timeout=5)(take)
    registry.on("*", name="3")(take)

    options = [(handler.retry, handler.timeout) for handler in registry.handlers]
    assert options == [(policy, 120.0), (None, 5.0), (None, None)]
    [bound] = Dispatcher(registry, receiver_type=Receiver).candidates(deliveries.event("unknown"))
    assert bound.handler.timeout is None


@pytest.mark.parametrize(
    ("above", "below"),
    [
        ({"retry": RetryPolicy(attempts=3), "timeout": 60}, {}),
        ({}, {"retry": RetryPolicy(attempts=3), "timeout": 60}),
        ({"retry": RetryPolicy(attempts=3)}, {"timeout": timedelta(minutes=1)}),
        ({"retry": RetryPolicy(attempts=3), "timeout": 60}, {"retry": RetryPolicy(attempts=3), "timeout": 60.0}),
    ],
)
def test_what_one_of_the_stacked_decorators_says_holds(above: dict[str, Any], below: dict[str, Any]) -> None:
    registry = Registry()
    registry.on("chunking", **above)(registry.on("unknown", **below)(take))

    [handler] = registry.handlers
    assert (handler.retry, handler.timeout) == (RetryPolicy(attempts=3), 60.0)
    assert len(handler.subscriptions) == 2


@pytest.mark.parametrize(
    ("option", "one", "other"), [("retry", RetryPolicy(), RetryPolicy(attempts=3)), ("timeout", 60, 61)]
)
def test_stacked_decorators_that_disagree_are_refused_and_change_nothing(option: str, one: Any, other: Any) -> None:
    registry = Registry()
    registry.on("chunking", **{option: one})(take)
    before, changes = registry.handlers, registry.changes

    with pytest.raises(ConfigurationError, match=rf"take' say {option}=.*give {option}= in one of them"):
        registry.on("unknown", **{option: other})(take)

    assert (registry.handlers, registry.changes) == (before, changes)


def test_included_registries_bring_what_they_get_later_too() -> None:
    main, part, inner = Registry(), Registry(), Registry()
    main.include(part)
    part.include(inner)
    main.on("*", name="1")(take)
    inner.on("*", name="2")(take)
    hook = inner.on_error(lambda error, context: None)
    dead_letter_hook = part.on_dead_letter(lambda error, context: None)
    last = inner.on_dead_letter(lambda error, context: None)

    assert [handler.name for handler in main.handlers] == ["1", "2"]
    assert main.error_hooks == [hook]
    assert main.dead_letter_hooks == [dead_letter_hook, last]
    dispatcher = Dispatcher(main, receiver_type=Receiver)
    assert (dispatcher.error_hooks, dispatcher.dead_letter_hooks) == ([hook], [dead_letter_hook, last])


def test_including_twice_or_over_two_ways_is_once() -> None:
    main, left, right, shared = Registry(), Registry(), Registry(), Registry()
    for above, below in ((main, left), (main, right), (left, shared), (right, shared), (main, shared)):
        above.include(below)
    shared.on("*")(take)

    assert len(main.handlers) == 1


def test_no_registry_is_inside_itself() -> None:
    outer, middle, inner = Registry(), Registry(), Registry()
    outer.include(middle)
    middle.include(inner)

    for registry in (inner, outer):
        with pytest.raises(ConfigurationError, match="include itself"):
            registry.include(registry)
    with pytest.raises(ConfigurationError, match="include itself"):
        inner.include(outer)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("chunking.complete", "chunking.completed"),
        ("chunkin", "chunking.*"),
        ("task_complete", "task.completed"),
        ("taks.completed", "task.completed"),
        ("stage.chunking.completed", "stage.chunker.completed"),
    ],
)
def test_an_unknown_name_warns_with_the_nearest_known_where_it_is_written(name: str, nearest: str) -> None:
    with pytest.warns(UnknownEventWarning, match=f"did you mean '{nearest}'".replace("*", r"\*")) as caught:
        Registry().on(name)

    assert caught[0].filename == __file__


def test_steps_of_ones_own_warn_and_arrive_all_the_same() -> None:
    with pytest.warns(UnknownEventWarning):
        assert wanted("my-own_step.completed") == {"my-own_step.completed"}


def test_known_names_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Registry().on(
            "processing.failed", "ingestor", "database_ingestion.completed", "stage.*", "chain", "step.failed"
        )


def test_without_parentheses_is_an_error_that_shows_them() -> None:
    with pytest.raises(ConfigurationError, match="with the parentheses"):
        Registry().on(take)


@pytest.mark.parametrize("events", [[], [[]], [3], [None], [str], [Exception], [["chunking", 3]]])
def test_what_is_no_event(events: list[Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"@on"):
        Registry().on(*events)


def test_the_module_level_on_is_the_default_registrys() -> None:
    assert on.__self__ is default_registry


@pytest.mark.parametrize(
    ("word", "meant"),
    [("step_completed", "*.completed"), ("stage_failed", "stage.*.failed"), ("stage_chain_completion", "chain.*")],
)
def test_a_word_of_the_wire_is_answered_with_the_pattern_that_means_it(word: str, meant: str) -> None:
    with pytest.warns(UnknownEventWarning, match=re.escape(repr(meant))):
        Registry().on(word)


@pytest.mark.parametrize(
    "misuse",
    [
        lambda: Registry().on(""),
        lambda: Registry().on("*", name=5),  # type: ignore[call-overload]
        lambda: Registry().on("*", name=""),
        lambda: Registry().on("*", where=True),  # type: ignore[call-overload]
        lambda: Registry().on("*", retry=3),  # type: ignore[call-overload]
        lambda: Registry().on("*", retry=RetryPolicy),  # type: ignore[call-overload]
        lambda: Registry().on("*", timeout="60"),  # type: ignore[call-overload]
        lambda: Registry().on("*", timeout=True),
        lambda: Registry().on("*", timeout=0),
        lambda: Registry().on("*", timeout=timedelta(seconds=-1)),
        lambda: Registry().on("*", timeout=math.nan),
        lambda: Registry().on("*", timeout=math.inf),
        lambda: Registry().on("*", timeout=10**400),
        lambda: Registry().include(5),  # type: ignore[arg-type]
        lambda: Receiver(registry=Registry().on, insecure=False, secrets="s"),  # type: ignore[arg-type]
    ],
)
def test_misuse_is_a_configuration_error(misuse: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationError):
        misuse()
