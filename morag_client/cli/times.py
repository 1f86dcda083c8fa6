"""Ages and moments as they are typed into a command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import typer

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])", re.ASCII)

AGES: Final = "an age such as 90m, 2h, 30d or 4w"
MOMENTS: Final = f"a time such as 2026-11-01 or 2026-11-01T10:30, or {AGES}"


def parse_age(text: str) -> timedelta:
    """The age that is meant: a number and s, m (minutes), h, d or w. For `typer.Option(parser=...)`.

    Raises typer.BadParameter.
    """
    found = _AGE.fullmatch(text.strip().lower())
    try:
        if found is not None:
            return timedelta(**{_UNITS[found[2]]: float(found[1])})
    except OverflowError:
        pass
    raise typer.BadParameter(f"{text!r} is no age; expected {AGES}")


def parse_moment(text: str) -> datetime:
    """The moment that is meant, in UTC: an age before now, or an ISO time, of this machine's zone where it names none.

    For `typer.Option(parser=...)`. Raises typer.BadParameter.
    """
    try:
        if _AGE.fullmatch(text.strip().lower()):
            return datetime.now(UTC) - parse_age(text)
        return datetime.fromisoformat(text.strip()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{text!r} is no time; expected {MOMENTS}") from None
