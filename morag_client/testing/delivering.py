"""One message's way to its receiver, without I/O: what to send, how long to wait, and what came of it.

A driver sends what `deliver` yields and tells it what came back; it needs no other knowledge.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from morag_client.events.types import Dialect
from morag_client.testing.senders import Sender
from morag_client.testing.wording.words import Words
from morag_client.wire.signature import HEADER, Secret, sign


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent, byte for byte the same at each attempt."""

    event: str
    dialect: Dialect
    url: str = field(repr=False)
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transit:
    """What befalls an attempt's bytes on their way.

    `body` arrives in the place of the message's, its Content-Length fitting; `cut_at` is the length in bytes at which
    the connection ends, in mid-body; the body takes `body_seconds`; the connection is reset once the answer has begun,
    or `early`, as soon as the request is out.
    """

    body: bytes | None = field(default=None, repr=False)
    cut_at: int | None = None
    body_seconds: float = 0.0
    reset: Literal["answered", "early"] | None = None


AS_USUAL: Final = Transit()


@dataclass(frozen=True, slots=True)
class Attempt:
    """Tells the driver: post the message, give up after `timeout_seconds`, and send back an Answer."""

    message: Message
    timeout_seconds: float
    transit: Transit = AS_USUAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back, and after how many seconds: a status and the beginning of the text, or why there is none."""

    seconds: float
    status_code: int | None = None
    text: str = ""
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryResult:
    """What became of a message: `ok` if the receiver accepted it.

    Of the last attempt: its latency in `seconds`, the status and the beginning of the answer's `text`, or the `error`
    where no answer came.
    """

    event: str
    dialect: Dialect
    ok: bool
    attempts: int
    seconds: float
    status_code: int | None
    text: str
    error: str | None
    message: Message = field(repr=False)


@dataclass(frozen=True, slots=True)
class Pause:
    """Tells the driver: wait so many seconds before the next attempt. Whoever gives up here has `so_far`."""

    seconds: float
    so_far: DeliveryResult


Delivering = Generator[Attempt | Pause, Answer | None, DeliveryResult]


def compose(
    words: Words, *, url: str, sender: Sender, secret: Secret | None = None, bearer_token: str | None = None
) -> Message:
    """The message of these words. Raises TypeError or ValueError where they cannot be JSON."""
    body = json.dumps(words.body, separators=(",", ":"), allow_nan=False).encode()
    headers = {"Content-Type": "application/json"}
    if sender.user_agent is not None:
        headers["User-Agent"] = sender.user_agent
    if bearer_token is not None:
        headers["Authorization"] = f"Bearer {bearer_token}"
    if secret is not None:
        headers[HEADER] = sign(body, secret)
    return Message(words.event, words.dialect, url, body, headers)


def deliver(message: Message, *, sender: Sender, transits: Sequence[Transit] = ()) -> Delivering:
    """Attempts and pauses until the receiver accepts the message or the sender gives up.

    `transits` are those of the first attempts; whatever comes after them arrives as it was sent.
    """
    for attempt in range(1, sender.attempts + 1):
        transit = transits[attempt - 1] if attempt <= len(transits) else AS_USUAL
        answer = yield Attempt(message, sender.timeout_seconds, transit)
        if answer is None:
            break
        result = _result(message, answer, attempts=attempt, ok=answer.status_code in sender.accepts)
        if result.ok or attempt == sender.attempts:
            return result
        yield Pause(sender.wait_before(attempt - 1), result)
    raise RuntimeError("a driver has to answer each attempt")


def _result(message: Message, answer: Answer, *, attempts: int, ok: bool) -> DeliveryResult:
    return DeliveryResult(
        event=message.event,
        dialect=message.dialect,
        ok=ok,
        attempts=attempts,
        seconds=answer.seconds,
        status_code=answer.status_code,
        text=answer.text,
        error=answer.error,
        message=message,
    )
