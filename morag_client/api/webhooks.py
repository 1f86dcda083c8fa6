"""Where MoRAG is to report to: a URL as given, or one that is made for the submission."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from uuid import UUID

from morag_client.errors import ConfigurationError

CorrelationValue = str | int | UUID

_LONG_ENOUGH: Final = 12


class WebhookMaker(Protocol):
    """What makes webhook URLs, as a Receiver does."""

    def webhook_url(self, /, **correlation: Any) -> str:
        """A URL that carries these ids."""

    @property
    def bearer_token(self) -> str | None:
        """The token that a sender is to be given, if any."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to report to, and the bearer token for it; neither is shown."""

    url: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


def told_to(
    webhook: WebhookMaker | None, correlation: Mapping[str, CorrelationValue] | None, webhook_url: str | None
) -> Target | None:
    """Where to report to, None for nowhere. Raises ConfigurationError where that is said twice, or not said."""
    if webhook is not None and webhook_url is not None:
        raise ConfigurationError("webhook= and webhook_url= both say where MoRAG reports to; give one of them")
    if webhook is not None:
        return Target(webhook.webhook_url(**(correlation or {})), webhook.bearer_token)
    if correlation:
        raise ConfigurationError("correlation= is signed into the webhook's URL; give webhook=receiver with it")
    return None if webhook_url is None else Target(webhook_url)


def webhook_config(target: Target) -> dict[str, str]:
    """A target as r2's `process` and r3's stages take it."""
    return {"url": target.url} if target.token is None else {"url": target.url, "auth_token": target.token}


def secrets_of(target: Target | None) -> tuple[str, ...]:
    """What of a target no error may repeat: the token, the URL, and the parts of it that may be a secret."""
    if target is None:
        return ()
    _, _, place = target.url.partition("://")[2].partition("/")
    parts = [part for part in re.split(r"[/?&=#;]", place) if len(part) >= _LONG_ENOUGH]
    return tuple(filter(None, (target.url, target.token, *sorted(parts, key=len, reverse=True))))
