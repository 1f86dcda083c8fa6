"""Making signed URLs: what they need, what they carry, and what is refused or warned of."""

from __future__ import annotations

import enum
import os
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import receiving

from morag_client import ConfigurationError, MoragWarning, Receiver, Settings, webhook_url
from morag_client.wire.signed_url import Claims, UrlSigner

HERE = "https://app.example.com/morag"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("MORAG_")]:
        monkeypatch.delenv(name)
    return


@pytest.fixture
def settings() -> Settings:
    return Settings.load(signing_key="new,old", public_url=HERE)


def claims_of(url: str, *, base: str = HERE, key: bytes = b"new") -> Claims:
    start, _, token = url.rpartition("/")
    assert start == f"{base}/webhook"
    return UrlSigner([key]).read(token)


class Kind(enum.StrEnum):
    PDF = "pdf"

    def __str__(self) -> str:
        return "one that is shown"


def test_ids_are_carried_as_text_with_a_ref_of_their_own(settings: Settings) -> None:
    number = UUID("12345678-1234-5678-1234-567812345678")

    first, second = (
        claims_of(webhook_url(settings, tenant="Acme & Söhne", document=42, job=number, kind=Kind.PDF, **{"a.b-c": -1}))
        for _ in range(2)
    )

    ref = first.correlation["ref"]
    assert first.correlation == {
        "tenant": "Acme & Söhne", "document": "42", "job": str(number), "kind": "pdf", "a.b-c": "-1", "ref": ref
    }  # fmt: skip
    assert (len(ref), ref.isalnum(), first.expires_at) == (24, True, None)
    assert second.correlation["ref"] != ref


def test_the_environment_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MORAG_SIGNING_KEY", "new, old")
    monkeypatch.setenv("MORAG_PUBLIC_URL", HERE + "/")

    assert claims_of(webhook_url(tenant="acme")).correlation["tenant"] == "acme"


@pytest.mark.parametrize(("max_age", "seconds"), [(60, 60), (0.5, 0.5), (timedelta(days=2), 172_800)])
def test_a_url_can_have_an_end(settings: Settings, max_age: Any, seconds: float) -> None:
    ends = claims_of(webhook_url(settings, max_age=max_age)).expires_at

    assert ends is not None
    assert time.time() + seconds - 5 < ends < time.time() + seconds + 5


@pytest.mark.parametrize("max_age", [0, -1, float("nan"), float("inf"), 10**20, True, "60", timedelta(0)])
def test_an_end_that_is_none_is_refused(settings: Settings, max_age: Any) -> None:
    with pytest.raises(ConfigurationError, match="max_age"):
        webhook_url(settings, max_age=max_age)


@pytest.mark.parametrize(
    ("correlation", "says"),
    [
        ({"ref": "mine"}, "ref is generated"),
        ({"": "a"}, "named ''"),
        ({"9a": "a"}, "named '9a'"),
        ({"a b": "a"}, "named 'a b'"),
        ({"ä": "a"}, "named 'ä'"),
        ({"a" * 65: "a"}, "1 to 64"),
        ({"a": ""}, "1 to 255"),
        ({"a": "x" * 256}, "1 to 255"),
        ({"a": "x\0"}, "printable"),
        ({"a": "x\ny"}, "printable"),
        ({"a": "\ud800"}, "printable"),
        ({"a": None}, "NoneType"),
        ({"a": True}, "bool"),
        ({"a": 1.5}, "float"),
        ({"a": b"x"}, "bytes"),
        ({"a": ["x"]}, "list"),
        ({"a": 2**63}, "64 bits"),
        ({"a": 10**5000}, "64 bits"),
        ({f"k{number}": "a" for number in range(17)}, "16 at most"),
        ({f"k{number}": "a" * 255 for number in range(16)}, "2048"),
    ],
)
def test_what_no_url_can_carry_is_refused_by_name(settings: Settings, correlation: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        webhook_url(settings, **correlation)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"signing_key= \(MORAG_SIGNING_KEY\)"):
        webhook_url(Settings.load(public_url=HERE))
    with pytest.raises(ConfigurationError, match=r"public_url= \(MORAG_PUBLIC_URL\)"):
        webhook_url(Settings.load(signing_key="key"))


def test_a_receiver_makes_them_from_its_own_settings(tmp_path: Path) -> None:
    receiver = receiving.receiver_of(tmp_path, secrets=None, signing_key=["new", "old"], public_url=HERE)

    assert claims_of(receiver.webhook_url(self="a", tenant="acme")).correlation.items() >= {
        ("self", "a"), ("tenant", "acme")
    }  # fmt: skip
    with pytest.raises(ConfigurationError, match="MORAG_SIGNING_KEY"):
        receiving.receiver_of(tmp_path).webhook_url(tenant="acme")
    assert "new" not in repr(receiver.settings)


def test_a_receiver_says_which_token_a_sender_is_to_be_given(tmp_path: Path) -> None:
    assert receiving.receiver_of(tmp_path, bearer_tokens=["one", "two"]).bearer_token == "one"
    assert receiving.receiver_of(tmp_path).bearer_token is None


REFUSED = ["http://localhost:8001", "http://127.0.0.1", "http://[::1]:1/x", "https://10.1.2.3", "https://192.168.0.9/a"]


@pytest.mark.parametrize("public_url", REFUSED)
def test_a_url_that_morag_refuses_warns_whoever_asks_for_it(tmp_path: Path, public_url: str) -> None:
    settings = Settings.load(signing_key="new", public_url=public_url)

    with pytest.warns(MoragWarning, match="refuses this machine") as caught:
        claims_of(webhook_url(settings), base=public_url)
    assert caught[0].filename == __file__
    with pytest.warns(MoragWarning, match="refuses this machine") as caught:
        Receiver(signing_key="new", public_url=public_url, database_url=receiving.url_of(tmp_path))
    assert caught[0].filename == __file__


@pytest.mark.parametrize("public_url", ["https://app.example.com", "https://8.8.8.8", "https://10.example.com"])
def test_any_other_does_not(public_url: str) -> None:
    webhook_url(Settings.load(signing_key="new", public_url=public_url))
