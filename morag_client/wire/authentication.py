"""Who vouches for a delivery: a signature, a bearer token, a signed URL, or nobody where that was said aloud."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from morag_client.errors import AuthenticationError, ConfigurationError, SignatureError
from morag_client.wire.delivery import Delivery
from morag_client.wire.signature import HEADER, Secret, keys_of, secret_keys, verify_with_keys
from morag_client.wire.signed_url import TENANT, Claims

Voucher = Literal["signature", "bearer", "signed_url", "nobody"]

_NAME_LENGTH = 255
_SIGNATURE_HEADER = HEADER.lower().encode()


@dataclass(frozen=True, slots=True)
class Tenant:
    """One sender of several, with secrets or bearer tokens of its own; `name` keeps its deliveries apart from others'.

    Raises ConfigurationError for a name that is no string of 1 to 255 characters.
    """

    name: str
    secrets: Iterable[Secret] = field(default=(), repr=False)
    bearer_tokens: Iterable[str] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        name: object = self.name
        fits = isinstance(name, str) and 0 < len(name) <= _NAME_LENGTH and name.isprintable()
        if not fits:
            raise ConfigurationError(
                f"a tenant's name is a string of 1 to {_NAME_LENGTH} printable characters, not {name!r:.60}"
            )


@dataclass(frozen=True, slots=True)
class Credentials:
    """What can vouch for one delivery. `signature_keys` is None where signatures are no configured kind.

    Whether a signed URL vouches is known from its claims; `signed_urls` only says that they are a configured kind.
    """

    signature_keys: tuple[bytes, ...] | None = field(default=None, repr=False)
    bearer_tokens: tuple[bytes, ...] | None = field(default=None, repr=False)
    insecure: bool = False
    tenant: str = ""
    signed_urls: bool = False

    @classmethod
    def of_tenant(cls, tenant: Tenant) -> Credentials:
        """The credentials of a tenant. Raises ConfigurationError where it has none, or a blank one."""
        secrets, tokens = tuple(tenant.secrets), tuple(tenant.bearer_tokens)
        return cls(
            # Without tokens there must be a secret: then `secret_keys` says that there is none.
            signature_keys=secret_keys(secrets) if secrets or not tokens else None,
            bearer_tokens=bearer_keys(tokens) if tokens else None,
            tenant=tenant.name,
        )


def authenticate(delivery: Delivery, credentials: Credentials, claims: Claims | None = None) -> Voucher:
    """What vouches for the delivery; `claims` are those of the signed URL that it came by, None where it was none.

    A signature that is present must verify; without one, another configured kind has to vouch. A URL that names a
    tenant is good for that one's deliveries only, and where there are tenants, no other URL vouches for anybody.
    Raises SignatureError or AuthenticationError (both 401).
    """
    whose = None if claims is None or not credentials.tenant else claims.correlation.get(TENANT)
    if whose is not None and whose != credentials.tenant:
        raise AuthenticationError("the URL was signed for another tenant")
    if credentials.signature_keys is not None:
        signatures = delivery.header_values(_SIGNATURE_HEADER)
        if len(signatures) > 1:
            raise SignatureError(f"{HEADER} was sent {len(signatures)} times")
        if signatures:
            verify_with_keys(delivery.body, signatures[0], credentials.signature_keys)
            return "signature"
    if credentials.bearer_tokens is not None and _bears(delivery, credentials.bearer_tokens):
        return "bearer"
    if claims is not None and whose == (credentials.tenant or None):
        return "signed_url"
    if credentials.insecure:
        return "nobody"
    if credentials.signature_keys is not None and credentials.bearer_tokens is None and not credentials.signed_urls:
        raise SignatureError(f"{HEADER} is missing")
    raise AuthenticationError("nothing vouches for this delivery: " + _wanted(credentials))


def bearer_keys(tokens: Iterable[str]) -> tuple[bytes, ...]:
    """The tokens as bytes. Raises ConfigurationError where there is none or a blank one."""
    return keys_of("bearer token", tokens)


def _bears(delivery: Delivery, tokens: tuple[bytes, ...]) -> bool:
    values = delivery.header_values(b"authorization")
    if len(values) != 1:
        return False
    scheme, _, token = values[0].partition(b" ")
    if scheme.lower() != b"bearer":
        return False
    return any(hmac.compare_digest(token, good) for good in tokens)


def _wanted(credentials: Credentials) -> str:
    kinds = []
    if credentials.signature_keys is not None:
        kinds.append(f"send {HEADER}")
    if credentials.bearer_tokens is not None:
        kinds.append("send Authorization: Bearer with a known token")
    if credentials.signed_urls:
        kinds.append("post to a signed webhook URL" + (" of this tenant" if credentials.tenant else ""))
    return " or ".join(kinds) or "no kind of proof is configured"
