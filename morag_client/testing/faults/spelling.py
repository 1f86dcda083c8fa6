"""Faults as they are written on a command line: `duplicate:times=3,concurrently`."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from morag_client.errors import ConfigurationError
from morag_client.testing.faults import courses, transits
from morag_client.testing.faults.shipment import Fault

KINDS: Final[Mapping[str, type[Any]]] = MappingProxyType(
    {
        "duplicate": courses.Duplicate,
        "drop": courses.Drop,
        "delay": courses.Delay,
        "reorder": courses.Reorder,
        "interleave": courses.Interleave,
        "restart": courses.Restart,
        "wrong-signature": transits.WrongSignature,
        "missing-signature": transits.MissingSignature,
        "slow-body": transits.SlowBody,
        "corrupt": transits.Corrupt,
        "truncate": transits.Truncate,
        "reset": transits.Reset,
    }
)
"""Every fault by its name."""

_NAMES: Final = {kind: name for name, kind in KINDS.items()}


def parse_fault(text: str) -> Fault:
    """The fault that is written like this. Raises ConfigurationError, saying what can be."""
    name, has_options, options = text.strip().partition(":")
    kind = KINDS.get(name)
    if kind is None:
        near = difflib.get_close_matches(name, KINDS, n=1)
        advice = f"did you mean {near[0]}? " if near else ""
        raise ConfigurationError(f"there is no fault {name!r}; {advice}There are: {', '.join(KINDS)}")
    given: dict[str, Any] = {}
    for option in options.split(",") if has_options else []:
        key, value = _option(name, kind, option)
        if key in given:
            raise ConfigurationError(f"{name}: {key} is there twice")
        given[key] = value
    try:
        fault: Fault = kind(**given)
    except ConfigurationError as error:
        raise ConfigurationError(f"{name}: {error}") from None
    return fault


def write_fault(fault: Fault) -> str:
    """How a fault is written, with the options that are not as they are by themselves."""
    options = []
    for field in dataclasses.fields(fault):  # type: ignore[arg-type]  # every fault is a dataclass
        value = getattr(fault, field.name)
        if value != field.default:
            options.append(field.name if value is True else f"{field.name}={_written(value)}")
    name = _NAMES[type(fault)]
    return f"{name}:{','.join(options)}" if options else name


def _option(name: str, kind: type[Any], text: str) -> tuple[str, Any]:
    key, has_value, value = text.strip().partition("=")
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}
    if key not in defaults:
        raise ConfigurationError(f"{name} has no option {key!r}; it has: {', '.join(_shown(defaults)) or 'none'}")
    default = defaults[key]
    if isinstance(default, bool):
        if has_value:
            raise ConfigurationError(f"{name}: {key} takes no value; write {name}:{key}")
        return key, True
    if not has_value or not value:
        raise ConfigurationError(f"{name}: {key} needs a value, as in {name}:{_shown({key: default})[0]}")
    if isinstance(default, str):
        return key, value
    try:
        return key, int(value) if isinstance(default, int) else float(value)
    except ValueError:
        kind_of_number = "a whole number" if isinstance(default, int) else "a number"
        raise ConfigurationError(f"{name}: {key}={value} is not {kind_of_number}") from None


def _shown(defaults: Mapping[str, Any]) -> list[str]:
    return [
        key if isinstance(default, bool) else f"{key}={_written(default) or 'chunking.completed'}"
        for key, default in defaults.items()
    ]


def _written(value: object) -> str:
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
