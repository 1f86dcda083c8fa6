"""Making typed events out of what a dialect read, forgiving where MoRAG's optional fields do not fit their types."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from pydantic import ValidationError

from morag_client.events.catalog import event_class
from morag_client.events.types import Event

_PAYLOAD_FIELDS: Final = ("data", "result", "metadata", "error_details")
_PASSES: Final = 4
_MISFIT: Final = object()


def build_event(fields: dict[str, Any]) -> Event:
    """The event of class `event_class(fields["name"])`; payload fields that do not fit their type become None.

    The payload fields (`data`, `result`, `metadata`, `error_details`) may hold anything that JSON can.
    """
    cls = event_class(fields["name"])
    try:
        return cls.model_validate(fields)
    except (ValidationError, OverflowError):
        fitting = {
            name: value for name, value in fields.items() if name not in _PAYLOAD_FIELDS or isinstance(value, dict)
        }
    # Once is enough but for a field of several types: what is wrong by one may hide what is wrong by another.
    for _ in range(_PASSES):
        try:
            return cls.model_validate(fitting)
        except ValidationError as error:
            fitting = _without_misfits(fitting, _locations(error))
        except OverflowError:  # older pydantic, where an integer is too large for a float
            break
    return cls.model_validate({name: value for name, value in fields.items() if name not in _PAYLOAD_FIELDS})


def _locations(error: ValidationError) -> Iterable[tuple[int | str, ...]]:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    return (problem["loc"] for problem in problems if problem["loc"][0] in _PAYLOAD_FIELDS)


def _without_misfits(fields: dict[str, Any], locations: Iterable[tuple[int | str, ...]]) -> dict[str, Any]:
    misfits: dict[int | str, Any] = {}
    for location in locations:
        inner = misfits
        for key in location:
            inner = inner.setdefault(key, {})
    return _without(fields, misfits) if misfits else fields


def _without(value: Any, misfits: dict[int | str, Any]) -> Any:
    """A copy without the misfits, or `_MISFIT`: a field goes alone, a list with a wrong element as a whole."""
    if not misfits:
        return _MISFIT
    # Beyond the last key that is there, a location names the alternatives of a union.
    if isinstance(value, dict) and misfits.keys() <= value.keys():
        kept = {key: _without(item, misfits[key]) if key in misfits else item for key, item in value.items()}
        return {key: item for key, item in kept.items() if item is not _MISFIT}
    if isinstance(value, list) and all(isinstance(at, int) for at in misfits):
        items = [_without(item, misfits[at]) if at in misfits else item for at, item in enumerate(value)]
        return _MISFIT if any(item is _MISFIT for item in items) else items
    return _MISFIT
