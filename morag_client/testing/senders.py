"""How MoRAG's senders deliver: what they count as success, how long they wait, how often they try again."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, TypeVar

from morag_client.errors import ConfigurationError
from morag_client.events.types import Dialect

_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """One sender's manners. The wait before retry n (from 0) is `retry_delay` · 2ⁿ seconds.

    `user_agent` None is the HTTP library's own.
    """

    accepts: Container[int]
    user_agent: str | None = None
    timeout_seconds: float = 30.0
    max_retries: int = 0
    retry_delay: float = 1.0

    @property
    def attempts(self) -> int:
        """How often it tries at most."""
        return self.max_retries + 1

    def wait_before(self, retry: int) -> float:
        """Seconds to wait before a retry, counted from 0."""
        return self.retry_delay * float(2**retry)


_2XX: Final = range(200, 300)
_BELOW_400: Final = range(200, 400)

GUIDE: Final = Sender(
    accepts=_2XX, user_agent="MoRAG-Webhook/1.0", timeout_seconds=30.0, max_retries=3, retry_delay=5.0
)
"""The guide's service: `WEBHOOK_TIMEOUT`, `WEBHOOK_MAX_RETRIES` and `WEBHOOK_RETRY_DELAY` are its settings."""

_R1: Final = replace(GUIDE, accepts=_BELOW_400, max_retries=2)
_R2_STEPS: Final = Sender(
    accepts=(200, 201, 202), user_agent="MoRAG-Webhook-Service/1.0", timeout_seconds=10.0, max_retries=3
)
_R2_INGEST: Final = Sender(accepts=(200,), timeout_seconds=10.0)
_R3_NOTIFIER: Final = Sender(accepts=_BELOW_400, user_agent="MoRAG-Stages/0.1.0", max_retries=3)
_R3_API: Final = Sender(accepts=_2XX)

_SENDERS: Final[Mapping[Dialect, Sender]] = MappingProxyType(
    {
        "envelope": _R1,
        "enveloped_step": GUIDE,
        "flat_step": _R2_STEPS,
        "ingest_result": _R2_INGEST,
        "stage_completed": _R3_NOTIFIER,
        "pipeline_completed": _R3_NOTIFIER,
        "stage_result": _R3_API,
        "stage_chain": _R3_API,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """What the user fixed of every sender's manners; None is left as the sender has it."""

    timeout_seconds: float | None = None
    max_retries: int | None = None
    retry_delay: float | None = None

    def of(self, sender: Sender) -> Sender:
        """The sender with what is fixed here."""
        return replace(
            sender,
            timeout_seconds=sender.timeout_seconds if self.timeout_seconds is None else self.timeout_seconds,
            max_retries=sender.max_retries if self.max_retries is None else self.max_retries,
            retry_delay=sender.retry_delay if self.retry_delay is None else self.retry_delay,
        )

    def check(self) -> None:
        """Raises ConfigurationError for a number that cannot be meant."""
        if self.timeout_seconds is not None and not 0 < self.timeout_seconds < math.inf:
            raise ConfigurationError(
                f"a timeout of {self.timeout_seconds} seconds: nothing could arrive; set it above 0"
            )
        if self.max_retries is not None and self.max_retries < 0:
            raise ConfigurationError(f"{self.max_retries} retries cannot be; 0 means one attempt")
        if self.retry_delay is not None and not 0 <= self.retry_delay < math.inf:
            raise ConfigurationError(
                f"a retry delay of {self.retry_delay} seconds cannot be waited; set it to 0 or more"
            )


def sender_of(dialect: Dialect, *, as_guide: bool, manners: Manners, environ: Mapping[str, str] = os.environ) -> Sender:
    """Who sends a dialect, with the manners that were fixed.

    Under the guide's rule (`as_guide`) it is the guide's service for everything. The service of the guide and of r1
    is the one that MoRAG's `WEBHOOK_*` variables set up. Raises ConfigurationError for one that is no number.
    """
    sender = GUIDE if as_guide else _SENDERS[dialect]
    if sender.user_agent == GUIDE.user_agent:
        sender = from_environment(environ).of(sender)
    return manners.of(sender)


def from_environment(environ: Mapping[str, str]) -> Manners:
    """What MoRAG's own variables say: seconds, retries, seconds."""
    manners = Manners(
        timeout_seconds=_number(environ, "WEBHOOK_TIMEOUT", float),
        max_retries=_number(environ, "WEBHOOK_MAX_RETRIES", int),
        retry_delay=_number(environ, "WEBHOOK_RETRY_DELAY", float),
    )
    manners.check()
    return manners


def _number(environ: Mapping[str, str], name: str, kind: Callable[[str], _Number]) -> _Number | None:
    stated = environ.get(name, "").strip()
    if not stated:
        return None
    try:
        return kind(stated)
    except ValueError:
        raise ConfigurationError(f"{name} is {stated!r}; set it to a number") from None
