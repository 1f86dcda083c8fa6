"""What can be asked for: a database has errors of its own for the rest, and each another one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from morag_client.errors import ConfigurationError

MOST: Final = 1_000_000_000


def checked_limit(limit: int) -> int:
    """How many are asked for, from 1 to a billion. Raises ConfigurationError."""
    if type(limit) is not int or not 0 < limit <= MOST:
        raise ConfigurationError(f"limit= is how many, a whole number from 1 to {MOST:,}, and not {limit!r}")
    return limit


def checked_text(text: str, *, of: str) -> str:
    """A text that is looked for. Raises ConfigurationError for one that can be stored nowhere."""
    if not isinstance(text, str):
        raise ConfigurationError(f"{of}= is a text, and not {text!r}")
    if "\0" in text or not _is_unicode(text):
        raise ConfigurationError(f"{of}= has a character in it that is stored nowhere: {text!r}")
    return text


def checked_state(state: str, among: Sequence[str]) -> str:
    """A state that is looked for. Raises ConfigurationError for one that nothing can be in."""
    if state not in among:
        raise ConfigurationError(f"the state is none of {', '.join(among)}: {state!r}")
    return state


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
