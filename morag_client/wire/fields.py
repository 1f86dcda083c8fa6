"""Reading the fields of a decoded body, collecting every problem instead of stopping at the first."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from morag_client.events.payloads import as_utc

Json = dict[str, Any]


class Fields:
    """An object of a body, at a place in it (`data.`), with the problems found so far in the whole body."""

    __slots__ = ("_place", "problems", "values")

    def __init__(self, values: Json, problems: list[str] | None = None, place: str = "") -> None:
        self.values = values
        self.problems: list[str] = [] if problems is None else problems
        self._place = place

    def text(self, key: str) -> str:
        """A required string that is not empty; "" and a problem otherwise."""
        value = self.values.get(key)
        if isinstance(value, str) and value:
            return value
        self.wrong(key, "a string that is not empty")
        return ""

    def percent(self, key: str) -> float | None:
        """A required number, kept within 0 to 100; None and a problem otherwise."""
        value = percent(self.values.get(key))
        if value is None:
            self.wrong(key, "a number from 0 to 100")
        return value

    def flag(self, key: str) -> bool:
        """A required boolean; False and a problem otherwise."""
        value = self.values.get(key)
        if isinstance(value, bool):
            return value
        self.wrong(key, "true or false")
        return False

    def time(self, key: str) -> datetime | None:
        """A required ISO 8601 time, in UTC; None and a problem otherwise."""
        value = as_time(self.values.get(key))
        if value is None:
            self.wrong(key, "an ISO 8601 time")
        return value

    def object(self, key: str) -> Fields:
        """A required object; an empty one and a problem otherwise."""
        value = self.values.get(key)
        if isinstance(value, dict):
            return Fields(value, self.problems, f"{self._place}{key}.")
        self.wrong(key, "an object")
        # What lies inside a missing object is not missed a second time.
        return Fields({}, [], f"{self._place}{key}.")

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        """A required string of a closed set; "" and a problem otherwise."""
        value = self.values.get(key)
        if isinstance(value, str) and value in choices:
            return value
        self.wrong(key, f"one of {', '.join(choices)}")
        return ""

    def wrong(self, key: str, expected: str) -> None:
        """Notes that a field is missing or not what is expected."""
        if self.values.get(key) is None:
            self.problems.append(f"{self._place}{key} is missing; expected {expected}")
        else:
            self.problems.append(f"{self._place}{key} is {_shown(self.values[key])}; expected {expected}")

    def expect(self, key: str, expected: str, fits: bool) -> None:  # noqa: FBT001
        """Notes a field that is there (and not null) and does not fit."""
        if self.values.get(key) is not None and not fits:
            self.wrong(key, expected)


def as_text(value: object) -> str | None:
    """The value if it is a string that is not empty."""
    return value if isinstance(value, str) and value else None


def as_object(value: object) -> Json:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_number(value: object) -> float | None:
    """The value if it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def as_time(value: object) -> datetime | None:
    """The value if it is an ISO 8601 time, in UTC."""
    if not isinstance(value, str):
        return None
    try:
        return as_utc(datetime.fromisoformat(value))
    except ValueError:
        return None


def percent(value: object) -> float | None:
    """A number as percent, kept within 0 to 100."""
    number = as_number(value)
    return None if number is None else min(max(number, 0.0), 100.0)


def _shown(value: object) -> str:
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "an array"
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 64:  # noqa: PLR2004
        return "a huge integer"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"  # noqa: PLR2004
