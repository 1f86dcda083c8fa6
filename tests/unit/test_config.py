"""Settings by keyword and by environment; what cannot work is named, and no secret is shown."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from pydantic import SecretStr, ValidationError

from morag_client import ConfigurationError, Settings

CANARY = "s3cret-canary"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("MORAG_")]:
        monkeypatch.delenv(name)
    return


def revealed(secrets: tuple[SecretStr, ...] | None) -> list[str] | None:
    return None if secrets is None else [secret.get_secret_value() for secret in secrets]


def test_nothing_is_set_by_itself() -> None:
    settings = Settings.load()

    assert (settings.webhook_secret, settings.bearer_tokens, settings.database_url) == (None, None, None)
    assert (settings.insecure, settings.inspect) == (False, False)
    assert (settings.max_body_bytes, settings.commit_timeout) == (1024 * 1024, 3.0)


def test_the_environment_and_what_is_given_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MORAG_WEBHOOK_SECRET", "new, old")
    monkeypatch.setenv("MORAG_BEARER_TOKENS", "one")
    monkeypatch.setenv("MORAG_DATABASE_URL", "sqlite:///a.db")
    monkeypatch.setenv("MORAG_LEASE", "2.5")
    monkeypatch.setenv("MORAG_INSPECT", "true")
    monkeypatch.setenv("MORAG_API_URL", "http://of.another.part")

    settings = Settings.load(database_url="sqlite:///b.db", lease=None, bearer_tokens=["two", "three"])

    assert revealed(settings.webhook_secret) == ["new", "old"]
    assert revealed(settings.bearer_tokens) == ["two", "three"]
    assert (settings.database_url, settings.lease, settings.inspect) == ("sqlite:///b.db", 2.5, True)


@pytest.mark.parametrize(
    ("given", "secrets"),
    [
        ("one", ["one"]),
        ("one,two , three", ["one", "two", "three"]),
        (b"one", ["one"]),
        (["one", "two,three"], ["one", "two,three"]),
        (("one",), ["one"]),
        (SecretStr("one,two"), ["one", "two"]),
    ],
)
def test_one_secret_or_several(given: object, secrets: list[str]) -> None:
    assert revealed(Settings.load(webhook_secret=given).webhook_secret) == secrets


@pytest.mark.parametrize("blank", ["", " ", "\t\n", ",", "one,", "one,,two", "one, ,two", [], ["one", " "], b""])
@pytest.mark.parametrize("name", ["webhook_secret", "bearer_tokens"])
def test_a_blank_secret_is_refused(name: str, blank: object) -> None:
    with pytest.raises(ConfigurationError, match=rf"{name} \(MORAG_{name.upper()}\).*blank"):
        Settings.load(**{name: blank})


@pytest.mark.parametrize("blank", ["", " ", "one,"])
def test_a_blank_secret_of_the_environment_is_refused(blank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MORAG_WEBHOOK_SECRET", blank)

    with pytest.raises(ConfigurationError, match="MORAG_WEBHOOK_SECRET"):
        Settings.load()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            (name, value)
            for name in ("body_timeout", "commit_timeout", "lease")
            for value in (0, -1, "nan", "inf", "x")
        ),
        *(("grace", value) for value in (-1, "nan", "inf")),
        *((name, value) for name in ("max_body_bytes", "concurrency", "handler_threads") for value in (0, -1, 1.5)),
        *(("table_prefix", value) for value in ("a b", 'x"', "A", "x" * 33, "a;--")),
        ("insecure", "perhaps"),
        ("webhook_secret", 3),
        ("bearer_tokens", [None]),
        ("no_such_setting", 1),
    ],
)
def test_what_cannot_work_is_named(name: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=rf"{name} \(MORAG_{name.upper()}\)"):
        Settings.load(**{name: value})


def test_every_problem_is_named_and_no_value_shown() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.load(webhook_secret=[CANARY, ""], bearer_tokens={CANARY: 1}, grace=CANARY, table_prefix=CANARY + " ")

    for name in ("webhook_secret", "bearer_tokens", "grace", "table_prefix"):
        assert name in str(caught.value)
    assert CANARY not in str(caught.value)
    assert CANARY not in repr(caught.value.__cause__)


def test_settings_are_frozen_and_do_not_show_secrets() -> None:
    settings = Settings.load(webhook_secret=CANARY, bearer_tokens=[CANARY])

    assert CANARY not in repr(settings) + str(settings) + settings.model_dump_json()
    with pytest.raises(ValidationError):
        settings.grace = 3


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://app.example.com", "https://app.example.com"),
        ("https://app.example.com/morag/", "https://app.example.com/morag"),
        ("http://127.0.0.1:8001", "http://127.0.0.1:8001"),
        ("http://[::1]:8001/a", "http://[::1]:8001/a"),
        ("http://app.localhost", "http://app.localhost"),
    ],
)
def test_where_morag_reaches_the_receiver(given: str, kept: str) -> None:
    assert Settings.load(public_url=given).public_url == kept


@pytest.mark.parametrize(
    "given",
    [
        *(
            "",
            "app.example.com",
            "/morag",
            "https://",
            "https://:8001",
            "ftp://app.example.com",
            "https://a b",
            "https://[::",
        ),
        *("http://app.example.com", "http://10.0.0.1", "http://localhost.example.com", "http://127.0.0.1.example.com"),
        *("https://app.example.com/?a=1", "https://app.example.com/#a", "https://app.example.com:0", "https://a:99999"),
        *("https://\xfcber.example.com", "https://app.example.com/\n", f"https://{CANARY}@app.example.com"),
        f"https://anna:{CANARY}@app.example.com",
    ],
)
def test_what_is_no_such_place_is_refused_and_not_shown(given: str) -> None:
    with pytest.raises(ConfigurationError, match="MORAG_PUBLIC_URL") as caught:
        Settings.load(public_url=given)

    assert CANARY not in str(caught.value)


def test_a_public_url_does_not_name_the_webhook_too() -> None:
    with pytest.raises(ConfigurationError, match="ends in /webhook"):
        Settings.load(public_url="https://app.example/morag/webhook/")


@pytest.mark.parametrize("name", ["database_url", "api_url"])
def test_passwords_in_urls_are_not_shown(name: str) -> None:
    assert "hunter2" not in repr(Settings.load(**{name: "postgresql://user:hunter2@db/x"}))
