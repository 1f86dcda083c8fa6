"""Every error that morag-client raises, in one tree under `MoragError`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class MoragError(Exception):
    """The root of everything that morag-client raises on purpose."""


class MoragWarning(UserWarning):
    """Something works, but probably not as meant."""


class ConfigurationError(MoragError):
    """Something was set up in a way that cannot work; the message says what to change."""


class DeliveryRejected(MoragError):
    """A delivery that is refused; `status` is the HTTP status it is answered with.

    `code` is a stable word for machines, `problems` lists everything that is wrong, each a sentence.
    """

    status: ClassVar[int] = 400
    code: ClassVar[str] = "rejected"

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems) or self.code)
        self.problems: Sequence[str] = problems or (self.code,)


class AuthenticationError(DeliveryRejected):
    """No configured kind of proof vouches for the delivery (401)."""

    status = 401
    code = "unauthenticated"


class SignatureError(AuthenticationError):
    """`X-MoRAG-Signature` is missing or malformed, or no secret produces it (401)."""

    code = "bad_signature"


class MalformedBody(DeliveryRejected):
    """The bytes are no JSON object (400)."""

    status = 400
    code = "malformed_body"


class InvalidPayload(DeliveryRejected):
    """A known dialect whose required fields are missing or wrong (422)."""

    status = 422
    code = "invalid_payload"


class SignedUrlExpired(DeliveryRejected):
    """The delivery came by a signed URL that is no longer good (422); it is kept in quarantine."""

    status = 422
    code = "expired_url"


class BodyTooLarge(DeliveryRejected):
    """The body is over the size limit (413)."""

    status = 413
    code = "body_too_large"


class UnsupportedBody(DeliveryRejected):
    """The content type or content encoding is not one that is read (415)."""

    status = 415
    code = "unsupported_body"


class BodyTimeout(DeliveryRejected):
    """The body did not arrive in time (408)."""

    status = 408
    code = "body_timeout"


class InboxError(MoragError):
    """The inbox could not do what was asked."""


class InboxUnavailable(InboxError):
    """The database did not take it in time or at all; MoRAG is told to try again (503)."""


class RecordNotFound(InboxError):
    """There is no record of that id."""


class ApiError(MoragError):
    """MoRAG's REST API answered with an error, or not at all.

    `status_code` is the HTTP status, None when no answer came; `detail` is what MoRAG said.
    """

    def __init__(self, message: str, *, status_code: int | None = None, detail: object = None) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.detail = detail
