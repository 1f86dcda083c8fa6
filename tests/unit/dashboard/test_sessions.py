"""Cookies of visits: signed, of a certain age, and worth nothing elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from morag_client.dashboard.sessions import COOKIE, Sessions

KEY = b"k" * 32


PASSWORD = "an old boat"


def sessions(*, signing_key: bytes | None = KEY, password: str | None = PASSWORD, max_age: float = 60) -> Sessions:
    return Sessions(signing_key=signing_key, password=password, max_age=max_age)


def request(method: str = "GET", scheme: str = "http", **headers: str) -> Request:
    given: dict[str, Any] = {"host": "inbox.example", **headers}
    encoded = [(name.replace("_", "-").encode(), value.encode()) for name, value in given.items()]
    scope = {"type": "http", "method": method, "scheme": scheme, "path": "/dashboard", "query_string": b""}
    return Request({**scope, "headers": encoded, "server": ("inbox.example", 80)})


def cookie_of(one: Sessions, **session: Any) -> str:
    """What a browser sends back of a visit."""
    response = Response()
    one.keep(response, one.new(**session), request=request())
    return response.headers["set-cookie"].partition(";")[0]


def test_a_visit_is_known_again_with_its_name_and_right() -> None:
    kept = sessions()
    visitor = request(cookie=cookie_of(kept, name="Anna\n", right="act"))

    session = kept.of(visitor)

    assert session is not None
    assert (session.name, session.right, kept.right(visitor)) == ("Anna", "act", "act")


def test_who_gave_no_password_has_no_right() -> None:
    kept = sessions()

    assert kept.right(request(cookie=cookie_of(kept))) is None


@pytest.mark.parametrize(
    "others",
    [
        sessions(signing_key=b"x" * 32),
        sessions(password="another boat"),
        sessions(signing_key=None),
        sessions(signing_key=None, password=None),
        sessions(max_age=-2),
    ],
)
def test_a_cookie_of_another_key_or_password_or_age_is_none(others: Sessions) -> None:
    assert others.of(request(cookie=cookie_of(sessions(), right="act"))) is None


def test_a_cookie_that_was_changed_is_none() -> None:
    kept = sessions()
    cookie = cookie_of(kept, right="act")

    for changed in (f"{COOKIE}=", f"{COOKIE}=x.y.z", cookie[:-1] + ("A" if cookie[-1] != "A" else "B")):
        assert kept.of(request(cookie=changed)) is None or changed == cookie


def test_the_same_password_without_a_signing_key_is_the_same_key_in_every_process() -> None:
    one, other = sessions(signing_key=None), sessions(signing_key=None)

    assert other.of(request(cookie=cookie_of(one, right="act"))) is not None


@pytest.mark.parametrize(
    ("headers", "comes"),
    [
        ({"sec_fetch_site": "same-origin"}, True),
        ({"origin": "http://inbox.example"}, True),
        ({}, True),  # no page at all: a browser says at least its origin
        ({"sec_fetch_site": "cross-site"}, False),
        ({"sec_fetch_site": "same-site"}, False),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": "http://[", "host": ""}, False),
    ],
)
def test_another_site_cannot_change_anything_with_a_visitors_cookie(headers: dict[str, str], *, comes: bool) -> None:
    kept = sessions()
    cookie = cookie_of(kept, right="act")

    assert kept.right(request("POST", cookie=cookie, **headers)) == ("act" if comes else None)
    assert kept.right(request("GET", cookie=cookie, **headers)) == "act"


def test_the_token_of_a_visit_is_its_own() -> None:
    kept = sessions()
    mine, theirs = kept.new(), kept.new()

    assert kept.is_csrf(mine, kept.csrf(mine))
    assert not kept.is_csrf(mine, kept.csrf(theirs))
    assert not kept.is_csrf(mine, "")
    assert not kept.is_csrf(mine, "\udcff")


@pytest.mark.parametrize(
    ("asked", "is_secure"),
    [(request(), False), (request(scheme="https"), True), (request(x_forwarded_proto="https"), True)],
)
def test_the_cookie_is_for_the_servers_eyes_and_for_our_pages_only(asked: Request, *, is_secure: bool) -> None:
    kept, response = sessions(), Response()

    kept.keep(response, kept.new(), request=asked)

    attributes = {part.strip().lower() for part in response.headers["set-cookie"].split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/", "max-age=60"} <= attributes
    assert ("secure" in attributes) is is_secure


def test_a_password_is_right_or_wrong() -> None:
    kept = sessions(password="ä boat")

    assert kept.opens("ä boat")
    assert not any(kept.opens(wrong) for wrong in ("", "a boat", "ä boat ", "\udcff"))
    assert not sessions(password=None).opens("")
