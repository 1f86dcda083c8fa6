"""Where MoRAG is to report to: said once, and made once for each submission."""

from __future__ import annotations

from typing import Any

import pytest

from morag_client import ConfigurationError, Receiver
from morag_client.api.webhooks import secrets_of, told_to, webhook_config

SIGNING_KEY = "a-signing-key-for-tests-only-0123456789"


def receiver(**settings: Any) -> Receiver:
    return Receiver(signing_key=SIGNING_KEY, public_url="https://app.example.com", insecure=False, **settings)


def test_a_receiver_makes_a_url_for_each_submission(tmp_path: Any) -> None:
    made = receiver(database_url=f"sqlite:///{tmp_path}/inbox.db", bearer_tokens=["first", "second"])

    one, other = (told_to(made, {"document": 42}, None) for _ in range(2))

    assert one is not None
    assert other is not None
    assert one.url.startswith("https://app.example.com/webhook/morag-w1.")
    assert one.url != other.url
    assert webhook_config(one) == {"url": one.url, "auth_token": "first"}


def test_a_url_is_taken_as_it_is() -> None:
    target = told_to(None, None, "https://app.example.com/hook")

    assert target is not None
    assert webhook_config(target) == {"url": "https://app.example.com/hook"}


def test_without_either_nobody_is_told() -> None:
    assert told_to(None, None, None) is None
    assert secrets_of(None) == ()


def test_it_is_said_once(tmp_path: Any) -> None:
    made = receiver(database_url=f"sqlite:///{tmp_path}/inbox.db")

    with pytest.raises(ConfigurationError, match="one of them"):
        told_to(made, None, "https://app.example.com/hook")


@pytest.mark.parametrize("url", [None, "https://app.example.com/hook"])
def test_ids_need_something_that_signs_them(url: str | None) -> None:
    with pytest.raises(ConfigurationError, match="webhook=receiver"):
        told_to(None, {"document": 42}, url)


def test_what_no_error_repeats() -> None:
    target = told_to(None, None, "https://app.example.com/webhook/a-long-secret-part?key=another-secret&x=1")

    assert secrets_of(target) == (
        "https://app.example.com/webhook/a-long-secret-part?key=another-secret&x=1",
        "a-long-secret-part",
        "another-secret",
    )
