"""What has to vouch for a delivery, as the receiver is configured."""

from __future__ import annotations

import dataclasses
import inspect
import logging
import warnings
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from pydantic import SecretStr

from morag_client.config import Settings
from morag_client.errors import AuthenticationError, ConfigurationError, InboxUnavailable, MoragWarning
from morag_client.receiver.webhook_urls import signer
from morag_client.wire.authentication import Credentials, Tenant, bearer_keys
from morag_client.wire.delivery import Delivery
from morag_client.wire.signature import secret_keys
from morag_client.wire.signed_url import Claims

logger = logging.getLogger("morag_client.receiver")

TenantOf = Callable[[Delivery], Awaitable[Tenant | None] | Tenant | None]

_CHOICES: Final = (
    "nothing is configured that could vouch for a delivery; pass secrets= (MORAG_WEBHOOK_SECRET) for X-MoRAG-Signature,"
    " bearer_tokens= (MORAG_BEARER_TOKENS) for Authorization: Bearer, signing_key= (MORAG_SIGNING_KEY) for signed"
    " webhook URLs, or, on a developer's machine only, insecure=True (serve --insecure) to believe everybody"
)
_TENANTS_TOKENS: Final = (
    "bearer_tokens= beside a function for secrets= would let whoever has one be any tenant;"
    " give each tenant its own: Tenant(name, bearer_tokens=[…])"
)


class Proof:
    """The credentials that a delivery is held against: the same for everybody, or those of its tenant.

    Raises ConfigurationError where nothing is configured, and warns where everybody is believed.
    """

    def __init__(self, settings: Settings, *, tenant_of: TenantOf | None) -> None:
        tokens = settings.bearer_tokens
        keys = settings.signing_key
        self.url_signer = None if keys is None else signer(keys)
        """None where signed URLs are no configured kind."""
        configured = settings.webhook_secret, tokens, keys, tenant_of
        is_configured = any(kind is not None for kind in configured)
        if not is_configured and not settings.insecure:
            raise ConfigurationError(_CHOICES)
        if tenant_of is not None and tokens is not None:
            raise ConfigurationError(_TENANTS_TOKENS)
        if settings.insecure:
            _warn("; the secrets or tokens that are configured are not required" if is_configured else "")
        self._insecure = settings.insecure
        self._tenant_of = tenant_of
        secrets = settings.webhook_secret
        self.of_everybody: Credentials | None = None
        """None where it depends on the delivery."""
        if tenant_of is None:
            self.of_everybody = Credentials(
                signature_keys=None if secrets is None else secret_keys(_revealed(secrets)),
                bearer_tokens=None if tokens is None else bearer_keys(_revealed(tokens)),
                insecure=settings.insecure,
                signed_urls=keys is not None,
            )

    def claims_of(self, delivery: Delivery) -> Claims | None:
        """What the URL was signed for that a delivery came by, None where it was no signed one.

        Whatever stands in the place of a signature has to be one: raises AuthenticationError.
        """
        if delivery.token is None:
            return None
        if self.url_signer is None:
            raise AuthenticationError("the signed part of the URL cannot be proven: no signing_key is configured")
        return self.url_signer.read(delivery.token)

    async def of_one(self, delivery: Delivery) -> Credentials:
        """The credentials of a delivery's tenant.

        Raises AuthenticationError for one of no known tenant, and InboxUnavailable where that cannot be found out.
        """
        if self._tenant_of is None:
            raise RuntimeError("the credentials are the same for everybody")
        try:
            tenant = self._tenant_of(delivery)
            if inspect.isawaitable(tenant):
                tenant = await tenant
            credentials = None if tenant is None else Credentials.of_tenant(tenant)
        except AuthenticationError:  # the application's own refusal
            raise
        except Exception as error:
            logger.exception("the tenant of a delivery could not be found out")
            raise InboxUnavailable("the sender's secrets cannot be looked up") from error
        if credentials is None and not self._insecure:
            raise AuthenticationError("no tenant is known for this delivery")
        return dataclasses.replace(
            credentials or Credentials(), insecure=self._insecure, signed_urls=self.url_signer is not None
        )


def _warn(needless: str) -> None:
    warnings.warn(
        f"insecure=True: whoever reaches this receiver can make it believe anything{needless}",
        MoragWarning,
        stacklevel=4,
    )


def _revealed(secrets: Sequence[SecretStr]) -> list[str]:
    return [secret.get_secret_value() for secret in secrets]
