"""Making signed webhook URLs: where MoRAG is to post to, with what it carries of the application's own."""

from __future__ import annotations

import ipaddress
import math
import secrets
import time
import warnings
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from morag_client.config import Settings, is_loopback
from morag_client.errors import ConfigurationError, MoragWarning
from morag_client.receiver.correlation import CorrelationValue, checked
from morag_client.wire.signature import keys_of
from morag_client.wire.signed_url import REF, Claims, UrlSigner

_REF_BYTES: Final = 12
_LONGEST_AGE: Final = timedelta(days=36_500)
_REFUSED: Final = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "192.168.0.0/16")))


def webhook_url(
    settings: Settings | None = None,
    /,
    *,
    max_age: float | timedelta | None = None,
    **correlation: CorrelationValue,
) -> str:
    """A signed URL to submit a document with, for whoever has no Receiver; the settings are the environment's.

    Every event that is posted to it carries `correlation`, and `ref`, which each URL has of its own. After `max_age`
    (seconds) deliveries are answered with 422 and kept in quarantine; without it the URL is good while its key is.
    Raises ConfigurationError where `signing_key` or `public_url` is missing, or an id cannot be signed; warns where
    MoRAG refuses such a URL.
    """
    settings = settings or Settings.load()
    warn_of_refusal(settings, stacklevel=3)
    return make_url(settings, correlation, max_age=max_age)


def make_url(
    settings: Settings, correlation: Mapping[str, CorrelationValue], *, max_age: float | timedelta | None
) -> str:
    """The URL that `webhook_url` describes, without its warning. Raises ConfigurationError."""
    signer = signer_of(settings)
    ids = checked(correlation) | {REF: secrets.token_hex(_REF_BYTES)}
    token = signer.sign(Claims(ids, None if max_age is None else moment_after(max_age)))
    return f"{webhook_base(settings)}/{token}"


def signer_of(settings: Settings) -> UrlSigner:
    """What signs and reads URLs. Raises ConfigurationError where there is no key."""
    if settings.signing_key is None:
        raise ConfigurationError(
            "there is no key to sign a webhook URL with; set signing_key= (MORAG_SIGNING_KEY), the same for whoever"
            " submits documents and for the receiver: a long random text"
        )
    return signer(settings.signing_key)


def signer(keys: tuple[SecretStr, ...]) -> UrlSigner:
    """What signs by the first of these keys, and reads by all. Raises ConfigurationError for one that is no key."""
    return UrlSigner(keys_of("signing key", [key.get_secret_value() for key in keys]))


def webhook_base(settings: Settings) -> str:
    """The URL of the receiver's webhook, without a signed part. Raises ConfigurationError where it is not known."""
    if settings.public_url is None:
        raise ConfigurationError(
            "it is not known where MoRAG reaches the receiver; set public_url= (MORAG_PUBLIC_URL), with the prefix of"
            " its mount, for example https://app.example.com/morag"
        )
    return f"{settings.public_url}/webhook"


def warn_of_refusal(settings: Settings, *, stacklevel: int) -> None:
    """Warns where MoRAG's own check of webhook URLs refuses the host."""
    if settings.public_url is None:
        return
    host = urlsplit(settings.public_url).hostname or ""
    if is_loopback(host) or _is_refused(host):
        warnings.warn(
            f"public_url leads to {host}: a MoRAG that checks webhook URLs refuses this machine, 10.* and 192.168.*;"
            " give a name or a public address, unless yours does not check",
            MoragWarning,
            stacklevel=stacklevel,
        )


def _is_refused(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in _REFUSED)


def moment_after(max_age: Any) -> int:
    """When a URL ends that is good for so long, in seconds since 1970. Raises ConfigurationError."""
    seconds = max_age.total_seconds() if isinstance(max_age, timedelta) else max_age
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not is_number or not 0 < seconds <= _LONGEST_AGE.total_seconds():
        raise ConfigurationError(
            f"max_age= takes seconds or a timedelta, more than none and 100 years at most, not {max_age!r}"
        )
    return math.ceil(time.time() + seconds)
