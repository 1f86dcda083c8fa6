"""Making typed events out of what a dialect read, forgiving where MoRAG's optional fields do not fit their types."""

from __future__ import annotations

import copy
from typing import Any

from pydantic import ValidationError

from morag_client.events.catalog import event_class
from morag_client.events.types import Event

_PAYLOAD_FIELDS = ("data", "result", "metadata", "error_details")


def build_event(fields: dict[str, Any]) -> Event:
    """The event of class `event_class(fields["name"])`; payload fields that do not fit their type become None.

    The payload fields (`data`, `result`, `metadata`, `error_details`) may hold anything that JSON can.
    """
    cls = event_class(fields["name"])
    for field in _PAYLOAD_FIELDS:
        if field in fields and not isinstance(fields[field], dict):
            del fields[field]
    try:
        return cls.model_validate(fields)
    except (ValidationError, OverflowError) as error:
        return cls.model_validate(_without_misfits(fields, error))


def _without_misfits(fields: dict[str, Any], error: ValidationError | OverflowError) -> dict[str, Any]:
    if isinstance(error, OverflowError):
        return {name: value for name, value in fields.items() if name not in _PAYLOAD_FIELDS}
    pruned = {**fields, **{name: copy.deepcopy(fields[name]) for name in _PAYLOAD_FIELDS if name in fields}}
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        if problem["loc"][0] in _PAYLOAD_FIELDS:
            _remove(pruned, problem["loc"])
    return pruned


def _remove(container: Any, location: tuple[int | str, ...]) -> None:
    """Takes out the innermost named field on the way to a misfit; a list with a wrong element goes as a whole."""
    innermost: tuple[dict[str, Any], str] | None = None
    for key in location:
        if isinstance(container, dict) and key in container:
            innermost = container, str(key)
            container = container[key]
        elif isinstance(container, list) and isinstance(key, int) and key < len(container):
            container = container[key]
        else:
            break
    if innermost is not None:
        innermost[0].pop(innermost[1], None)
