"""Which handlers an event goes to, remembered by its name."""

from __future__ import annotations

import deliveries
import pytest

from morag_client import ConfigurationError, Event, Receiver, Registry, parse_event
from morag_client.handlers.dispatch import Dispatcher


def names(dispatcher: Dispatcher, event: Event) -> list[str]:
    return [bound.name for bound in dispatcher.candidates(event)]


def test_candidates_are_in_the_order_of_registration() -> None:
    registry = Registry()
    for name, pattern in (("1", "*"), ("2", "chunking"), ("3", "ingestion"), ("4", "*.completed")):
        registry.on(pattern, name=name)(lambda event: None)

    assert names(Dispatcher(registry, receiver_type=Receiver), deliveries.event("chunking.completed")) == [*"124"]


def test_what_is_registered_later_is_taken_in() -> None:
    registry, included = Registry(), Registry()
    registry.include(included)
    dispatcher = Dispatcher(registry, receiver_type=Receiver)
    event = deliveries.event("unknown")
    assert names(dispatcher, event) == []

    included.on("*", name="late")(lambda event: None)

    assert names(dispatcher, event) == ["late"]
    assert dispatcher.handler_names == ["late"]


def test_what_is_registered_later_and_cannot_be_bound_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    registry = Registry()
    registry.on("*", name="good")(lambda event: None)
    dispatcher = Dispatcher(registry, receiver_type=Receiver)

    registry.on("*", name="bad")(lambda event, other: None)

    assert names(dispatcher, deliveries.event("unknown")) == ["good"]
    assert names(dispatcher, deliveries.event("unknown")) == ["good"]
    assert caplog.text.count("'bad'") == 1
    with pytest.raises(ConfigurationError):
        dispatcher.refresh()


def test_names_that_a_sender_makes_up_do_not_fill_the_memory() -> None:
    registry = Registry()
    registry.on("*.completed", name="all")(lambda event: None)
    dispatcher = Dispatcher(registry, receiver_type=Receiver)

    for number in range(3000):
        event = parse_event(deliveries.step_body(step=f"step-{number}"))
        assert names(dispatcher, event) == ["all"]

    assert len(dispatcher._by_name) <= 1024
