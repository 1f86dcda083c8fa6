"""A sample of an event, with the fields that a test asks for in their places."""

from __future__ import annotations

import json
import operator
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from morag_client.errors import ConfigurationError, InvalidPayload
from morag_client.events.building import build_event
from morag_client.events.names import UNKNOWN
from morag_client.events.types import Event
from morag_client.testing.bodies import Json
from morag_client.testing.sampling.bodies import DOCUMENT_ID, NOW, TASK_ID, UNSENT, sample_body
from morag_client.testing.sampling.naming import named, nearest
from morag_client.testing.sampling.placing import Place, is_open, places
from morag_client.wire.parsing import parse_event

_BESIDE: Final = ("correlation", "source")
"""Fields of an event that no body tells."""


def make_event(kind: str | type[Event], fields: Mapping[str, Any]) -> Event:
    """The event of a sample body in which these fields stand. Raises ConfigurationError, naming the nearest."""
    name = named(kind, fields)
    beside = {field: fields[field] for field in _BESIDE if field in fields}
    told = _told(kind, {field: value for field, value in fields.items() if field not in beside})
    try:
        event = _unsent(name, told) if name in UNSENT else parse_event(json.dumps(_filled(name, told)))
    except (InvalidPayload, ValidationError, TypeError, ValueError) as error:
        raise ConfigurationError(f"{told} does not fit {name}: {error}") from error
    _check(event, name, told)
    return event.model_copy(update=beside) if beside else event


def make_body(kind: str | type[Event], fields: Mapping[str, Any]) -> bytes:
    """A sample body in which these fields stand. Raises ConfigurationError."""
    name = named(kind, fields)
    if name in UNSENT:
        raise ConfigurationError(f"no webhook tells of {name}; samples.event makes such an event")
    make_event(kind, fields)  # which looks whether they fit
    return json.dumps(_filled(name, _told(kind, fields)), separators=(",", ":")).encode()


def _told(kind: str | type[Event], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is a part of the name."""
    if kind is not Event and isinstance(kind, type):
        return {field: value for field, value in fields.items() if field not in {"step", "stage"}}
    return dict(fields)


def _filled(name: str, fields: Mapping[str, Any]) -> Json:
    body = sample_body(name)
    if name == UNKNOWN:
        return {**body, **{field: _plain(value) for field, value in fields.items()}}
    known = places(name)
    for field, value in fields.items():
        _put(body, _place(name, field, known).keys, _in_words(name, field, value))
    return body


def _unsent(name: str, fields: Mapping[str, Any]) -> Event:
    known = places(name)
    said: Json = {"task_id": TASK_ID, "document_id": DOCUMENT_ID, "occurred_at": NOW, "metadata": {}}
    for field, value in fields.items():
        _put(said, tuple(_place(name, field, known).attribute.split(".")), _plain(value))
    status = name.rpartition(".")[2]
    return build_event({**said, "name": name, "status": status, "source": "reconcile", "dialect": UNKNOWN, "raw": {}})


def _place(name: str, field: str, known: Mapping[str, Place]) -> Place:
    if field not in known and is_open(name):
        return Place(("data", field), f"data.{field}")
    if field not in known:
        choices = [*known, *_BESIDE]
        raise ConfigurationError(
            f"{name} has no field {field!r}; did you mean {nearest(field, choices)!r}?"
            f" It has {', '.join(sorted(choices))}"
        )
    return known[field]


def _put(body: Json, keys: tuple[str, ...], value: Any) -> None:
    for key in keys[:-1]:
        inner = body.get(key)
        body = body.setdefault(key, {}) if isinstance(inner, dict) else _fresh(body, key)
    body[keys[-1]] = value


def _fresh(body: Json, key: str) -> Json:
    body[key] = {}
    fresh: Json = body[key]
    return fresh


def _in_words(name: str, field: str, value: Any) -> Any:
    if field == "progress" and name.startswith("task.") and value is not None:
        return value / 100  # as r1 counts it
    return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.model_dump(mode="json", exclude_unset=True) if isinstance(value, BaseModel) else value


def _check(event: Event, name: str, fields: Mapping[str, Any]) -> None:
    """Raises ConfigurationError where a value did not fit, which a receiver would put up with."""
    if name == UNKNOWN and event.name == UNKNOWN:
        return
    if event.name != name:
        raise ConfigurationError(f"with these fields it is no {name} any more, but {event.name}")
    known = places(name)
    for field, value in fields.items():
        outer, _, inner = _place(name, field, known).attribute.partition(".")
        found = getattr(event, outer)
        if inner:
            found = None if found is None else operator.attrgetter(inner)(found)
        if found is None and value is not None:
            raise ConfigurationError(f"{field}={value!r} does not fit {name}: a receiver would read nothing there")
