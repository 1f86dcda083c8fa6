"""Who is logged in: a signed cookie, and a token that a page has to send back with whatever it wants done."""

from __future__ import annotations

import functools
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from itsdangerous import BadData, URLSafeTimedSerializer
from starlette.requests import Request
from starlette.responses import Response

from morag_client.dashboard.desk import Right

COOKIE: Final = "morag_dashboard"

_SALT: Final = "morag-client.dashboard-session.1"
_CSRF_SALT: Final = b"morag-client.dashboard-csrf.1"
_PASSWORD_SALT: Final = b"morag-client.dashboard-password.1"
_COST: Final = 2**14
_NAME_LENGTH: Final = 64
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Session:
    """A visit: of whom, and what the password opened to them; `right` is None where none was given."""

    id: str
    name: str = ""
    right: Right | None = None


class Sessions:
    """Makes and reads the cookies of visits.

    They are signed by a key made of the signing key and the password, so that all sessions end when either changes.
    Without a signing key the password is stretched first: who has a cookie could try passwords on it. Without either,
    the key is this process's own.
    """

    def __init__(self, *, signing_key: bytes | None, password: str | None, max_age: float) -> None:
        self._signing_key = signing_key
        self._password = password
        self._max_age = max_age
        self._own = secrets.token_bytes(32)

    @property
    def has_password(self) -> bool:
        return self._password is not None

    def opens(self, password: str) -> bool:
        """Whether this is the password, in a time that does not tell how much of it was right."""
        if self._password is None:
            return False
        given, meant = (
            hashlib.sha256(text.encode(errors="surrogatepass")).digest() for text in (password, self._password)
        )
        return hmac.compare_digest(given, meant)

    def new(self, *, name: str = "", right: Right | None = None) -> Session:
        """A visit that begins."""
        printable = "".join(character for character in name if character.isprintable())
        return Session(secrets.token_urlsafe(18), printable.strip()[:_NAME_LENGTH], right)

    def of(self, request: Request) -> Session | None:
        """The visit that a request belongs to, None where its cookie is none of ours or too old."""
        cookie = request.cookies.get(COOKIE)
        if cookie is None:
            return None
        try:
            match self._serializer.loads(cookie, max_age=int(self._max_age)):
                case {"i": str(number), "n": str(name), "r": ("read" | "act" | None) as right}:
                    return Session(number, name, right)
        except BadData:
            pass
        return None

    def right(self, request: Request) -> Right | None:
        """What the password opened to whoever asks.

        What changes something must come from a page of our own, by what the browser says of it; the cookie's SameSite
        says the same a second time.
        """
        session = self.of(request)
        if session is None or (request.method not in _SAFE and not comes_from_us(request)):
            return None
        return session.right

    def csrf(self, session: Session) -> str:
        """What a page has to send back with whatever it wants done."""
        return hmac.new(self._key, _CSRF_SALT + session.id.encode(), hashlib.sha256).hexdigest()

    def is_csrf(self, session: Session, token: str) -> bool:
        """Whether it is that."""
        return hmac.compare_digest(self.csrf(session).encode(), token.encode(errors="surrogatepass"))

    def keep(self, response: Response, session: Session, *, request: Request) -> None:
        """Gives the browser the cookie of a visit.

        SameSite is Strict: nothing but a page of ours needs it. Who follows a link to the dashboard gets the empty page
        without it, and that page asks for its data as one of ours.
        """
        value = self._serializer.dumps({"i": session.id, "n": session.name, "r": session.right})
        response.set_cookie(COOKIE, value, max_age=int(self._max_age), **_attributes(request))

    def end(self, response: Response, *, request: Request) -> None:
        """Takes the cookie away again."""
        response.delete_cookie(COOKIE, **_attributes(request))

    @functools.cached_property
    def _key(self) -> bytes:
        password = (self._password or "").encode(errors="surrogatepass")
        if self._signing_key is not None:
            return hmac.new(self._signing_key, _PASSWORD_SALT + password, hashlib.sha256).digest()
        if self._password is None:
            return self._own
        return hashlib.scrypt(password, salt=_PASSWORD_SALT, n=_COST, r=8, p=1, dklen=32)

    @functools.cached_property
    def _serializer(self) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(
            self._key, salt=_SALT, signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256}
        )


def comes_from_us(request: Request) -> bool:
    """Whether a request comes from a page of this very origin, or from no page at all."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in {"same-origin", "none"}
    origin = request.headers.get("origin")
    if origin is None:
        return True
    try:
        return urlsplit(origin).netloc.lower() == request.headers.get("host", "").lower() != ""
    except ValueError:
        return False


def _attributes(request: Request) -> dict[str, Any]:
    is_secure = request.url.scheme == "https" or request.headers.get("x-forwarded-proto", "").lower() == "https"
    path = f"{request.scope.get('root_path', '')}/"
    return {"path": path, "secure": is_secure, "httponly": True, "samesite": "strict"}
