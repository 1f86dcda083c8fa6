"""Scopes: what they say, what they cover, and how they are read."""

from __future__ import annotations

from typing import Any

import pytest

from morag_client import ConfigurationError
from morag_client.progress.scopes import Scope, make_scope, scope_of
from morag_client.progress.state import TaskState
from morag_client.wire.identity import task_key

KEY = task_key(tenant="", task_id="42") or b""


def task(**values: Any) -> TaskState:
    return TaskState(**{"task_id": "42", "tenant": "", "document_id": "doc", "correlation": {"user": "7"}, **values})


@pytest.mark.parametrize(
    ("scope", "key", "state", "matches"),
    [
        ({"task": "42"}, KEY, task(), True),
        ({"task": 42}, KEY, task(), True),
        # the id that is shown may be of a query that nobody signed
        ({"task": "42"}, b"another's", task(), False),
        ({"task": "42", "tenant": "acme"}, KEY, task(), False),
        ({"document": "doc"}, KEY, task(), True),
        ({"document": "doc"}, KEY, task(tenant="acme"), False),
        ({"correlation": {"user": 7}}, KEY, task(), True),
        ({"correlation": {"user": 7, "page": 1}}, KEY, task(), False),
        ({"correlation": {"user": 7}}, KEY, task(tenant="acme"), False),
        ({"correlation": {"user": 7, "tenant": "acme"}}, KEY, task(tenant="acme"), False),
        (
            {"correlation": {"user": 7, "tenant": "acme"}},
            KEY,
            task(tenant="acme", correlation={"user": "7", "tenant": "acme"}),
            True,
        ),
        # without tenants, that name is an id like any other
        ({"correlation": {"tenant": "acme"}}, KEY, task(correlation={"tenant": "acme"}), True),
        ({"all": True}, KEY, task(tenant="acme"), True),
        ({"all": True, "tenant": "acme"}, KEY, task(tenant="acme"), True),
        ({"all": True, "tenant": "acme"}, KEY, task(), False),
    ],
)
def test_whether_a_task_is_meant(scope: dict[str, Any], key: bytes, state: TaskState, *, matches: bool) -> None:
    assert make_scope(**scope).matches(key, state) is matches


@pytest.mark.parametrize(
    ("wider", "narrower", "covers"),
    [
        ({"all": True}, {"task": "42"}, True),
        ({"all": True}, {"all": True, "tenant": "acme"}, True),
        ({"all": True, "tenant": "acme"}, {"all": True}, False),
        ({"all": True, "tenant": "acme"}, {"task": "42"}, False),
        ({"all": True, "tenant": "acme"}, {"task": "42", "tenant": "acme"}, True),
        ({"task": "42"}, {"task": "42"}, True),
        ({"task": "42"}, {"task": "43"}, False),
        ({"task": "42"}, {"document": "42"}, False),
        ({"document": "doc"}, {"document": "doc", "tenant": "acme"}, False),
        ({"correlation": {"user": "7"}}, {"correlation": {"user": "7", "page": "1"}}, True),
        ({"correlation": {"user": "7", "page": "1"}}, {"correlation": {"user": "7"}}, False),
        ({"correlation": {"user": "7"}}, {"task": "42"}, False),
        ({"correlation": {"user": "7"}}, {"all": True}, False),
    ],
)
def test_whether_a_scope_lies_within_another(wider: dict[str, Any], narrower: dict[str, Any], *, covers: bool) -> None:
    assert make_scope(**wider).covers(make_scope(**narrower)) is covers


@pytest.mark.parametrize(
    "said",
    [{"task": "42"}, {"document": "d", "tenant": "acme"}, {"correlation": {"b": "2", "a": "1"}}, {"all": True}],
)
def test_as_json_and_back(said: dict[str, Any]) -> None:
    scope = make_scope(**said)

    assert scope_of(scope.as_object()) == scope


def test_a_correlation_with_a_tenant_and_back() -> None:
    scope = make_scope(correlation={"tenant": "acme"})

    assert scope_of(scope.as_object()) == scope == Scope("correlation", None, ids=(("tenant", "acme"),))


@pytest.mark.parametrize(
    "said",
    [
        None,
        "all",
        {},
        {"all": False},
        {"all": 1},
        {"all": "yes"},
        {"task": None},
        {"task": ""},
        {"task": "x" * 256},
        {"task": {"id": 1}},
        {"task": True},
        {"task": "1", "document": "2"},
        {"task": "1", "all": True},
        {"task": "1", "tenant": 7},
        {"correlation": {}},
        {"correlation": "user"},
        {"correlation": {"user": None}},
        {"correlation": {str(number): "x" for number in range(17)}},
        {"room": "1"},
    ],
)
def test_what_is_no_scope(said: object) -> None:
    with pytest.raises(ConfigurationError):
        scope_of(said)
