"""`X-MoRAG-Signature: sha256=<hex>`: HMAC-SHA256 over the raw body, as in MoRAG's guide.

The scheme signs no time, so it is no protection against replays: the inbox's deduplication is.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from typing import Final

from itsdangerous.signer import HMACAlgorithm

from morag_client.errors import ConfigurationError, SignatureError

HEADER: Final = "X-MoRAG-Signature"
PREFIX: Final = b"sha256="
_HEX_DIGITS: Final = frozenset(b"0123456789abcdef")
_LENGTH: Final = len(PREFIX) + 64

Secret = str | bytes


class HexHmacSha256(HMACAlgorithm):
    """MoRAG's scheme as an itsdangerous algorithm: the signature is the header's value."""

    def __init__(self) -> None:
        super().__init__(hashlib.sha256)

    def get_signature(self, key: bytes, value: bytes) -> bytes:
        # The one-shot digest takes half the time of an HMAC object, and this runs for every delivery.
        return PREFIX + hmac.digest(key, value, "sha256").hex().encode()


_ALGORITHM = HexHmacSha256()


def sign(body: bytes, secret: Secret) -> str:
    """The value of `X-MoRAG-Signature` for these bytes. Raises ConfigurationError for a blank secret."""
    return _ALGORITHM.get_signature(secret_keys(secret)[0], body).decode()


def verify_signature(body: bytes, signature: str | bytes | None, secrets: Secret | Iterable[Secret]) -> None:
    """Proves that one of the secrets signed these bytes.

    Raises SignatureError where none did or the signature is missing or malformed, and ConfigurationError
    where there is no secret or a blank one.
    """
    keys = secret_keys(secrets)
    if signature is None:
        raise SignatureError(f"{HEADER} is missing")
    verify_with_keys(body, signature if isinstance(signature, bytes) else _header_bytes(signature), keys)


def verify_with_keys(body: bytes, signature: bytes, keys: Sequence[bytes]) -> None:
    """`verify_signature` for a header's bytes and keys that were checked before."""
    for key in keys:
        if _ALGORITHM.verify_signature(key, body, signature):
            return
    problem = malformed(signature)
    if problem is not None:
        raise SignatureError(f"{HEADER} {problem}; expected sha256= and 64 lower-case hex digits")
    raise SignatureError(f"{HEADER} does not match: no configured secret signed these bytes")


def secret_keys(secrets: Secret | Iterable[Secret]) -> tuple[bytes, ...]:
    """The secrets as keys. Raises ConfigurationError where there is none or a blank one."""
    return keys_of("webhook secret", [secrets] if isinstance(secrets, (str, bytes)) else secrets)


def keys_of(kind: str, values: Iterable[Secret]) -> tuple[bytes, ...]:
    """Secrets or tokens as bytes. Raises ConfigurationError where there is none, or one that proves nothing."""
    several: object = values
    keys = tuple(_key(kind, value) for value in values) if isinstance(several, Iterable) else ()
    if not keys:
        raise ConfigurationError(f"there is no {kind}; set one, or leave this kind of proof out altogether")
    return keys


def _key(kind: str, value: object) -> bytes:
    if not isinstance(value, (str, bytes)):
        raise ConfigurationError(f"a {kind} is of type {type(value).__name__}; set a string or bytes")
    if not value.strip():
        raise ConfigurationError(f"a {kind} is empty or blank: anyone could make it up; set a real one")
    try:
        # Bytes of the environment that are no UTF-8 reach Python as surrogates; these are the bytes that were meant.
        return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
    except UnicodeEncodeError:
        raise ConfigurationError(f"a {kind} has characters that no encoding can carry; set another one") from None


def malformed(signature: bytes) -> str | None:
    """What is wrong with the form of a signature, None where nothing is."""
    if not signature:
        return "is empty"
    if not signature.startswith(PREFIX):
        return "does not start with sha256="
    if len(signature) != _LENGTH:
        return f"has {len(signature) - len(PREFIX)} digits instead of 64"
    if not _HEX_DIGITS.issuperset(signature[len(PREFIX) :]):
        return "has characters that are no lower-case hex digits"
    return None


def _header_bytes(signature: str) -> bytes:
    try:
        return signature.encode("latin-1")
    except UnicodeEncodeError:
        raise SignatureError(f"{HEADER} has characters that no HTTP header can carry") from None
