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


def test_what_is_registered_later_is_taken_in_by_refresh() -> None:
    registry = Registry()
    dispatcher = Dispatcher(registry, receiver_type=Receiver)
    event = deliveries.event("unknown")
    assert names(dispatcher, event) == []

    registry.on("*", name="late")(lambda event: None)
    dispatcher.refresh()

    assert names(dispatcher, event) == ["late"]
    assert dispatcher.handler_names == ["late"]


def test_a_refresh_refuses_what_cannot_be_bound_and_keeps_what_was() -> None:
    registry = Registry()
    registry.on("*", name="good")(lambda event: None)
    dispatcher = Dispatcher(registry, receiver_type=Receiver)

    registry.on("*", name="bad")(lambda event, other: None)

    with pytest.raises(ConfigurationError):
        dispatcher.refresh()
    assert names(dispatcher, deliveries.event("unknown")) == ["good"]


def test_names_that_a_sender_makes_up_do_not_fill_the_memory() -> None:
    registry = Registry()
    registry.on("*.completed", name="all")(lambda event: None)
    dispatcher = Dispatcher(registry, receiver_type=Receiver)

    for number in range(3000):
        event = parse_event(deliveries.step_body(step=f"step-{number}"))
        assert names(dispatcher, event) == ["all"]

    assert len(dispatcher._by_name) <= 1024
