"""The last part of a signed webhook URL: it proves who made the URL, and carries the application's own ids.

It is made by itsdangerous: `morag-w1.<claims>.<HMAC-SHA256>`, in characters that no URL and no JSON escapes. What
it starts with says what it is good for, and lets it be found wherever it must not be (`wire/redaction.py`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from itsdangerous.encoding import base64_decode, base64_encode
from itsdangerous.exc import BadData
from itsdangerous.serializer import Serializer
from itsdangerous.signer import Signer
from itsdangerous.url_safe import URLSafeSerializer

from morag_client.errors import AuthenticationError, ConfigurationError

REF: Final = "ref"
"""The key of what every URL has of its own, so that events without any other id belong together."""
TENANT: Final = "tenant"
"""The key of whose it is, where the receiver has tenants."""

_PREFIX: Final = "morag-w1."
_SALT: Final = b"morag-client.webhook-url.1"
_LONGEST: Final = 2048
_FORM: Final = re.compile(r"morag-w1\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Claims:
    """What a URL was signed for; `expires_at` in seconds since 1970, None for never."""

    correlation: Mapping[str, str]
    expires_at: int | None = None

    @property
    def text(self) -> str:
        """The correlation as a JSON object: the same for the same ids, whatever key signed them and until when."""
        return json.dumps(dict(self.correlation), ensure_ascii=False, sort_keys=True, separators=(",", ":"))


class UrlSigner:
    """Signs with the first of its keys, and believes all of them."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._serializer = token_serializer(keys, salt=_SALT)

    def sign(self, claims: Claims) -> str:
        """The last part of a URL. Raises ConfigurationError where the correlation is too much for one."""
        claimed: dict[str, Any] = {"c": dict(claims.correlation)}
        if claims.expires_at is not None:
            claimed["x"] = claims.expires_at
        token = _PREFIX + self._serializer.dumps(claimed)
        if len(token) > _LONGEST:
            raise ConfigurationError(
                f"a signed URL would be of {len(token)} characters; {_LONGEST} are the most that every server between"
                " MoRAG and the receiver lets through: sign shorter ids, and look the rest up by them"
            )
        return token

    def read(self, token: str) -> Claims:
        """What was signed; whether it is still good is for the caller. Raises AuthenticationError."""
        if len(token) > _LONGEST or _FORM.fullmatch(token) is None:
            raise AuthenticationError("the signed part of the URL is malformed")
        try:
            claimed = self._serializer.loads(token.removeprefix(_PREFIX))
        except BadData:
            raise AuthenticationError("the signed part of the URL does not match: no configured key made it") from None
        match claimed:
            case {"c": {"ref": str()} as correlation}:
                return Claims(correlation, claimed.get("x"))
        raise AuthenticationError("the signed part of the URL was made for something else")


def token_serializer(keys: Sequence[bytes], *, salt: bytes) -> URLSafeSerializer:
    """What makes tokens of one purpose by the first of the keys, and reads those of all; a salt for each purpose."""
    return _Serializer(
        list(reversed(keys)),  # itsdangerous has the newest last
        salt=salt,
        signer=_Signer,
        signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
    )


class _Signer(Signer):
    def verify_signature(self, value: str | bytes, sig: str | bytes) -> bool:
        # Base64's last character has bits that nobody reads: the same signature could be spelt in four ways.
        encoded = sig if isinstance(sig, bytes) else sig.encode()
        return base64_encode(base64_decode(encoded)) == encoded and super().verify_signature(value, encoded)


class _Serializer(URLSafeSerializer):
    def dump_payload(self, obj: Any) -> bytes:
        # Never compressed: it would save next to nothing, and puts two dots beside each other, which proxies dislike.
        return base64_encode(Serializer.dump_payload(self, obj))
