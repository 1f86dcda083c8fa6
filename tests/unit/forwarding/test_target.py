"""What a URL to pass events on to may be; whatever is wrong with it, it is shown nowhere."""

from __future__ import annotations

import pytest

from morag_client.errors import ConfigurationError
from morag_client.forwarding.target import target_of

CANARY = "T0CANARY"


@pytest.mark.parametrize(
    ("url", "shown", "path"),
    [
        ("https://hooks.slack.com/services/T0/B0/X0", "hooks.slack.com", "/services/T0/B0/X0"),
        ("https://Example.COM.", "example.com", "/"),
        ("https://example.com:443/a?b=c", "example.com", "/a?b=c"),
        ("https://example.com:8443?b=%20", "example.com:8443", "/?b=%20"),
        ("https://[2606:2800:220:1::1]:8443/", "[2606:2800:220:1::1]:8443", "/"),
    ],
)
def test_a_url_is_taken_apart(url: str, shown: str, path: str) -> None:
    target = target_of(url, allow_private=())

    assert (target.shown, target.path, target.private) == (shown, path, False)
    assert path == "/" or path not in repr(target)


@pytest.mark.parametrize(
    "url",
    [
        f"http://example.com/{CANARY}",
        f"https://user:{CANARY}@example.com/",
        f"https://{CANARY}@example.com/",
        f"ftp://example.com/{CANARY}",
        f"/{CANARY}",
        f"https:///{CANARY}",
        f"https://example.com/{CANARY} ",
        f"https://example.com/{CANARY}\r\nX-Evil: 1",
        f"https://example.com\\@localhost/{CANARY}",
        f"https://exämple.com/{CANARY}",
        f"https://example.com:0/{CANARY}",
        f"https://example.com:99999/{CANARY}",
        f"https://[::1/{CANARY}",
        f"https://example.com/#{CANARY}",
        f"https://localhost/{CANARY}",
        f"https://n8n.localhost/{CANARY}",
        f"https://127.0.0.1/{CANARY}",
        f"https://[::1]/{CANARY}",
        f"https://[::ffff:127.0.0.1]/{CANARY}",
        f"https://10.0.0.1/{CANARY}",
        f"https://169.254.169.254/{CANARY}",
        f"https://[fe80::1%25eth0]/{CANARY}",
        7,
        None,
    ],
)
def test_what_it_must_not_be_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        target_of(url, allow_private=())

    assert CANARY not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "allow"),
    [
        ("http://127.0.0.1:5678/x", "127.0.0.1"),
        ("http://127.0.0.1:5678/x", ["127.0.0.1:5678"]),
        ("http://n8n.internal/x", ["other", "N8N.internal"]),
        ("http://localhost:5678/x", ["localhost"]),
        ("https://localhost/x", ["localhost:443"]),
        ("http://[::1]:5678/x", ["[::1]"]),
        ("http://[::1]:5678/x", ["::1"]),
        ("http://[::1]:5678/x", ["[::1]:5678"]),
    ],
)
def test_a_host_that_is_named_may_be_private_and_without_tls(url: str, allow: object) -> None:
    assert target_of(url, allow_private=allow).private


@pytest.mark.parametrize("allow", [["127.0.0.2"], ["127.0.0.1:5679"], ["localhost"], []])
def test_no_other_host_and_port_is_allowed_with_it(allow: list[str]) -> None:
    with pytest.raises(ConfigurationError):
        target_of("http://127.0.0.1:5678/x", allow_private=allow)


def test_a_clouds_metadata_is_not_allowed_by_name_either() -> None:
    with pytest.raises(ConfigurationError, match="metadata"):
        target_of("http://169.254.169.254/x", allow_private=["169.254.169.254"])


@pytest.mark.parametrize("allow", [True, 7, [7], ["*"], ["http://n8n"], ["n8n/x"], [""], ["n8n:x"], [None], ["a@b"]])
def test_what_names_no_host_is_refused(allow: object) -> None:
    with pytest.raises(ConfigurationError):
        target_of("https://example.com/x", allow_private=allow)


def test_the_secrets_of_a_url_are_its_parts_also_decoded() -> None:
    secrets = target_of(f"https://example.com/hooks/{CANARY}%2Ftail?key=se%20cret", allow_private=()).secrets

    assert {f"{CANARY}%2Ftail", f"{CANARY}/tail", "se cret", f"/hooks/{CANARY}%2Ftail"} <= set(secrets)
    assert "" not in secrets
