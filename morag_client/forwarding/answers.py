"""What the other side's answer means: it has the event, it is to be asked again, or it never will have it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final

from morag_client.errors import MoragError
from morag_client.events.payloads import as_utc
from morag_client.handlers.retry import GiveUp, RetryLater
from morag_client.wire.redaction import REDACTED, redacted_text

_AGAIN: Final = frozenset({408, 425, 429})
_SOONEST: Final = 1.0
_LATEST: Final = 3600.0
_SHOWN: Final = 300
_SHORTEST_SECRET: Final = 5
_UNPRINTABLE: Final = re.compile(r"[\x00-\x20\x7f-\xa0\u2028-\u202e\u2066-\u2069]+")


class ForwardingFailed(MoragError):
    """An event could not be passed on; it is tried again."""


class ForwardingRefused(ForwardingFailed, GiveUp):
    """The other side will not have the event: a dead letter at once."""


class ForwardingPutOff(ForwardingFailed, RetryLater):
    """The other side says when it wants to be asked again."""

    def __init__(self, said: str, *, after: float) -> None:
        RetryLater.__init__(self, after)
        self._said = said

    def __str__(self) -> str:
        return f"{self._said} (to be tried again after {self.after_seconds:g} seconds)"


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered; `text` is the beginning of the body where that is no success."""

    status: int
    text: str = ""
    retry_after: str | None = None


def require_success(answer: Answer, *, who: str, secrets: Iterable[str], now: datetime) -> None:
    """Returns where the event was taken. Raises ForwardingFailed, ForwardingPutOff or ForwardingRefused.

    What the other side said is shown in part, without the secrets. Retry-After counts within a second and an hour.
    """
    if 200 <= answer.status < 300:  # noqa: PLR2004
        return
    text = without_secrets(answer.text, secrets)
    said = f"{who} answered {answer.status}{f': {text}' if text else ''}"
    if answer.status in _AGAIN or answer.status >= 500:  # noqa: PLR2004
        seconds = _seconds(answer.retry_after, now)
        if seconds is None:
            raise ForwardingFailed(said)
        raise ForwardingPutOff(said, after=min(max(seconds, _SOONEST), _LATEST))
    if answer.status < 400:  # noqa: PLR2004
        said += " (redirects are not followed: give to= the URL that it leads to)"
    raise ForwardingRefused(said)


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """A foreign text in one line, bounded, without what nobody may read: errors are stored, shown and logged."""
    for secret in sorted({secret for secret in secrets if len(secret) >= _SHORTEST_SECRET}, key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    line = _UNPRINTABLE.sub(" ", redacted_text(text)).strip()
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"


def _seconds(retry_after: str | None, now: datetime) -> float | None:
    """How long to wait by a Retry-After, None where it says nothing that can be read."""
    if retry_after is None:
        return None
    if re.fullmatch(r"[0-9]{1,9}", retry_after.strip(), re.ASCII):
        return float(retry_after)
    try:
        return (as_utc(parsedate_to_datetime(retry_after)) - now).total_seconds()
    except (ValueError, OverflowError):
        return None
