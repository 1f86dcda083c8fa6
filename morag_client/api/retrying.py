"""When a request is sent again: where nothing had been sent, and where a second time has no other effect."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

import stamina

from morag_client.api.requests import Request
from morag_client.errors import ApiError, Unreachable

LONGEST_WAIT: Final = 60.0
"""Seconds; a server that asks for more is not waited for."""

_FIRST_WAIT: Final = 0.2
_LONGEST_BACKOFF: Final = 10.0
_JITTER: Final = 0.2
_NOBODY: Final = logging.NullHandler()
_PASSING: Final = {429, 500, 502, 503, 504}


def retrying(request: Request, *, attempts: int) -> Any:
    """Attempts for a `for` or an `async for`, each a context manager; between them they wait, longer each time."""
    # Where nobody has set logging up, Python prints what a library warns of; each error says how it ended anyway.
    logging.getLogger("stamina").addHandler(_NOBODY)
    return stamina.retry_context(
        on=backoff_for(request),
        attempts=attempts,
        timeout=None,
        wait_initial=_FIRST_WAIT,
        wait_max=_LONGEST_BACKOFF,
        wait_jitter=_JITTER,
    )


def backoff_for(request: Request) -> Callable[[Exception], bool | float]:
    """Whether to try again after an error, or how many seconds to wait before."""

    def backoff(error: Exception) -> bool | float:
        if isinstance(error, Unreachable):
            return error.is_unsent or request.is_idempotent
        passing = isinstance(error, ApiError) and error.status_code in _PASSING
        if not passing or not request.is_idempotent:
            return False
        wanted = error.retry_after if isinstance(error, ApiError) else None
        return True if wanted is None else wanted <= LONGEST_WAIT and max(wanted, _FIRST_WAIT)

    return backoff
