"""The application's own ids, as they can be signed into a URL."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from morag_client.errors import ConfigurationError
from morag_client.wire.signed_url import REF

CorrelationValue = str | int | UUID

_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_RESERVED: Final = {REF: "is generated for every URL", "max_age": "says how long a URL is good"}
_MOST_KEYS: Final = 16
_VALUE_LENGTH: Final = 255
_LARGEST: Final = 2**63


def checked(correlation: Mapping[str, Any]) -> dict[str, str]:
    """An application's ids as they are signed, each as text. Raises ConfigurationError saying which cannot be."""
    if len(correlation) > _MOST_KEYS:
        raise ConfigurationError(f"{len(correlation)} ids are too many for a URL; sign {_MOST_KEYS} at most")
    return {_checked_key(key): _checked_value(key, value) for key, value in correlation.items()}


def _checked_key(key: str) -> str:
    if key in _RESERVED:
        raise ConfigurationError(f"{key} {_RESERVED[key]}; give your own id another name")
    if _KEY.fullmatch(key) is None:
        raise ConfigurationError(
            f"an id cannot be named {key!r:.80}; take 1 to 64 letters, digits and . _ -, beginning with a letter"
        )
    return key


def _checked_value(key: str, value: object) -> str:
    if isinstance(value, str):
        text = str.__str__(value)  # an enumeration's own text is another
        if not 0 < len(text) <= _VALUE_LENGTH or not text.isprintable():
            raise ConfigurationError(f"the id {key!r} is no text of 1 to {_VALUE_LENGTH} printable characters")
        return text
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST:
        return str(int(value))
    if isinstance(value, UUID):
        return str(value)
    raise ConfigurationError(
        f"the id {key!r} is of type {type(value).__name__}; sign a string, an integer of 64 bits or a UUID"
    )
