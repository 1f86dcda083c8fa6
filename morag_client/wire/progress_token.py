"""Tokens that let a browser follow the progress of some tasks: `morag-p1.<claims>.<HMAC-SHA256>`.

Signed by the key of the webhook URLs under a salt of their own, so that neither passes for the other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from itsdangerous.exc import BadData

from morag_client.errors import AuthenticationError
from morag_client.wire.signed_url import token_serializer

_PREFIX: Final = "morag-p1."
_SALT: Final = b"morag-client.progress.1"
_LONGEST: Final = 16 * 1024
_FORM: Final = re.compile(r"morag-p1\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{43}")


class ProgressSigner:
    """Signs with the first of its keys, and believes all of them."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._serializer = token_serializer(keys, salt=_SALT)

    def sign(self, scope: Mapping[str, Any], *, expires_at: int) -> str:
        """A token for a scope (a JSON object), good until then (seconds since 1970)."""
        return _PREFIX + str(self._serializer.dumps({"s": dict(scope), "x": expires_at}))

    def read(self, token: str, *, now: float) -> dict[str, Any]:
        """The scope that was signed, if that is still good `now` (seconds since 1970). Raises AuthenticationError."""
        if len(token) > _LONGEST or _FORM.fullmatch(token) is None:
            raise AuthenticationError("the token is no progress token")
        try:
            claimed = self._serializer.loads(token.removeprefix(_PREFIX))
        except BadData:
            raise AuthenticationError("the token does not match: no configured key made it") from None
        match claimed:
            case {"s": dict() as scope, "x": int() as expires_at}:
                if now >= expires_at:
                    raise AuthenticationError("the token has expired")
                return scope
        raise AuthenticationError("the token was made for something else")
