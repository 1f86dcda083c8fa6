"""From what happened to a task to what is sent of it: a profile's words, proven and in its senders' manners."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

from morag_client.api.transport import require_token
from morag_client.errors import ConfigurationError
from morag_client.testing.delivering import compose
from morag_client.testing.faults.shipment import Shipment
from morag_client.testing.mock.voices import Voice
from morag_client.testing.moments import Moment
from morag_client.testing.senders import Manners, sender_of
from morag_client.testing.wording.words import Words
from morag_client.wire.signature import Secret

_WITH_OWN_TOKEN: Final = ("flat_step", "stage_result", "stage_chain")
_OF_STAGE_API: Final = ("stage_result", "stage_chain")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_FRAMING: Final = {"host", "content-length", "transfer-encoding", "connection"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Where a submission wants to be told. What is beside the URL holds for those senders that know of it.

    Raises ConfigurationError for a token or a header that cannot be sent.
    """

    url: str
    auth_token: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    timeout_seconds: float | None = None

    def __post_init__(self) -> None:
        if self.auth_token is not None:
            require_token(self.auth_token, name="auth_token")
        for name, value in self.headers.items():
            if _HEADER_NAME.fullmatch(name) is None or name.lower() in _FRAMING:
                raise ConfigurationError(f"{name!r} is no header that can be set; leave it out")
            if not (value.isascii() and value.isprintable()):
                raise ConfigurationError(f"the header {name} holds a character that no header can carry")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipper:
    """How a mock server speaks and proves itself. `as_guide`: the guide's service sends everything."""

    voice: Voice
    as_guide: bool
    manners: Manners
    secret: Secret | None = field(repr=False)
    bearer_token: str | None = field(repr=False)

    def shipments(self, moment: Moment, webhook: Webhook) -> list[Shipment]:
        """What is sent of a moment, in this order."""
        return [self.shipment(words, webhook) for words in self.voice(moment, datetime.now(UTC))]

    def shipment(self, words: Words, webhook: Webhook) -> Shipment:
        """What these words become on their way to a webhook."""
        sender = sender_of(words.dialect, as_guide=self.as_guide, manners=self.manners)
        knows_token = self.as_guide or words.dialect in _WITH_OWN_TOKEN
        token = (webhook.auth_token if knows_token else None) or self.bearer_token
        message = compose(words, url=webhook.url, sender=sender, secret=self.secret, bearer_token=token)
        if words.dialect in _OF_STAGE_API:
            message = replace(message, headers={**message.headers, **webhook.headers})
            if webhook.timeout_seconds is not None:
                sender = replace(sender, timeout_seconds=webhook.timeout_seconds)
        return Shipment(message=message, sender=sender, secret=self.secret)
