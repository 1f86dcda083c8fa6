"""Every error that morag-client raises, in one tree under `MoragError`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal


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


class AlreadyReconciling(InboxError):
    """Another process is asking MoRAG about the tasks of this inbox."""


class ApiError(MoragError):
    """MoRAG's REST API answered with an error, or not at all.

    `status_code` is the HTTP status, None when no answer came; `detail` is what MoRAG said; `retry_after` is how many
    seconds it asks to wait, where it does.
    """

    def __init__(
        self, message: str, *, status_code: int | None = None, detail: object = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.detail = detail
        self.retry_after = retry_after


class BadRequest(ApiError):
    """MoRAG cannot do what was asked (400)."""


class Unauthorized(ApiError):
    """The API key is missing, or not one that MoRAG knows (401)."""


class Forbidden(ApiError):
    """The API key may not do this (403)."""


class NotFound(ApiError):
    """There is no such task, file or call (404)."""


class Conflict(ApiError):
    """What was asked does not go with how things stand (409)."""


class Gone(ApiError):
    """The call or the file was there and is no longer (410)."""


class TooLarge(ApiError):
    """The file is larger than this server takes (413)."""


class ValidationRefused(ApiError):
    """MoRAG found fields missing or wrong (422); `detail` lists them."""


class RateLimited(ApiError):
    """Too many requests (429); `retry_after` says how many seconds to wait, where MoRAG does."""


class ServerFailed(ApiError):
    """MoRAG failed, or what stands before it (500 to 599)."""


class Unreachable(ApiError):
    """MoRAG could not be reached, or the connection broke; `is_unsent` says that nothing had been sent yet."""

    def __init__(self, message: str, *, is_unsent: bool = False) -> None:
        super().__init__(message)
        self.is_unsent = is_unsent


class TimedOut(Unreachable):
    """MoRAG did not answer in time."""


class NotUnderstood(ApiError):
    """An answer came that cannot be read: not MoRAG's, damaged, or larger than is taken."""


class NotSupported(ApiError):
    """The release of MoRAG that is there does not have it; nothing was sent."""


class TaskFailedError(MoragError):
    """A task did not complete: it failed, was cancelled or is lost.

    `state` is that word, None where its events broke off; `error` and `error_code` are MoRAG's; `event` is the Event
    that says so, or the last there was.
    """

    def __init__(
        self,
        message: str,
        *,
        task_id: str,
        state: Literal["failed", "cancelled", "lost"] | None = None,
        error: str | None = None,
        error_code: str | None = None,
        event: Any = None,
    ) -> None:
        super().__init__(message)
        self.task_id = task_id
        self.state = state
        self.error = error
        self.error_code = error_code
        self.event = event


class TaskTimeout(MoragError, TimeoutError):
    """A task has not ended in the time that was given to it; MoRAG goes on with it."""

    def __init__(self, message: str, *, task_id: str) -> None:
        super().__init__(message)
        self.task_id = task_id
