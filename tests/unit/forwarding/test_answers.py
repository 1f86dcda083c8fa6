"""What becomes of an event by what the other side answers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from morag_client.forwarding.answers import (
    Answer,
    ForwardingFailed,
    ForwardingPutOff,
    ForwardingRefused,
    require_success,
    without_secrets,
)
from morag_client.handlers.retry import GiveUp, RetryLater

NOW = datetime(2026, 11, 24, 1, 0, tzinfo=UTC)


def judged(answer: Answer, *secrets: str) -> None:
    require_success(answer, who="hooks.example.com", secrets=secrets, now=NOW)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_success(status: int) -> None:
    judged(Answer(status))


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_what_may_pass_is_tried_again(status: int) -> None:
    with pytest.raises(ForwardingFailed, match=rf"^hooks.example.com answered {status}: too busy$") as failed:
        judged(Answer(status, "too busy"))

    assert not isinstance(failed.value, GiveUp | RetryLater)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 413, 422, 451])
def test_what_is_refused_is_given_up_with_what_was_said(status: int) -> None:
    with pytest.raises(ForwardingRefused, match=rf"^hooks.example.com answered {status}: invalid_payload$") as refused:
        judged(Answer(status, "invalid_payload\n", retry_after="5"))

    assert isinstance(refused.value, GiveUp)


@pytest.mark.parametrize("status", [101, 301, 302, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with pytest.raises(ForwardingRefused, match="redirects are not followed"):
        judged(Answer(status))


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("30", 30),
        (" 30 ", 30),
        ("0", 1),
        ("86400", 3600),
        ("999999999", 3600),
        ("Tue, 24 Nov 2026 01:02:00 GMT", 120),
        ("Tue, 24 Nov 2026 00:00:00 GMT", 1),
        ("Tue, 24 Nov 2099 00:00:00 GMT", 3600),
    ],
)
def test_retry_after_is_kept_within_bounds(retry_after: str, seconds: float) -> None:
    with pytest.raises(ForwardingPutOff, match=rf"answered 429.*after {seconds} seconds") as put_off:
        judged(Answer(429, retry_after=retry_after))

    assert put_off.value.after_seconds == seconds
    assert isinstance(put_off.value, RetryLater)


@pytest.mark.parametrize("retry_after", ["", "soon", "-5", "1e9", "9" * 400, "٣", "Mon, 99 Foo", "30, 30"])
def test_a_retry_after_that_cannot_be_read_counts_for_nothing(retry_after: str) -> None:
    with pytest.raises(ForwardingFailed) as failed:
        judged(Answer(503, retry_after=retry_after))

    assert not isinstance(failed.value, RetryLater)


def test_what_was_said_is_one_line_bounded_and_without_secrets() -> None:
    text = "no hook /services/T0CANARY\x1b[31m\r\nmorag-w1.eyJjIjp7InJlZiI6IjAxMjM0NTY3ODlhYmNkZWYifX0.aaaaaaaaaa"
    text += "x" * 999

    shown = without_secrets(text, ["/services/T0CANARY", "T0CANARY", "x" * 3])

    assert shown.startswith("no hook REDACTED [31m REDACTED")
    assert len(shown) <= 301
    assert not {"\n", "\x1b"} & set(shown)
