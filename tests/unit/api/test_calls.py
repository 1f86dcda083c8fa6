"""The clients' methods as people and tools see them: described once, alike in both."""

from __future__ import annotations

import inspect
import typing

import pytest

from morag_client import AsyncMoragClient, MoragClient
from morag_client.api.endpoints import status
from morag_client.api.namespaces import AsyncFiles, AsyncStages, Files, Stages

PAIRS = [(MoragClient, AsyncMoragClient), (Stages, AsyncStages), (Files, AsyncFiles)]


def calls_of(client: type) -> dict[str, typing.Any]:
    return {name: value for name, value in vars(client).items() if hasattr(value, "__wrapped__")}


@pytest.mark.parametrize(("plain", "awaited"), PAIRS)
def test_both_clients_have_the_same_calls(plain: type, awaited: type) -> None:
    one, other = calls_of(plain), calls_of(awaited)

    assert set(one) == set(other)
    assert len(one) >= 3
    for name, call in one.items():
        assert inspect.signature(call) == inspect.signature(other[name])
        assert call.__doc__ == other[name].__doc__
        assert call.__doc__
        assert not inspect.iscoroutinefunction(call)
        assert inspect.iscoroutinefunction(other[name])


def test_a_call_looks_like_a_method() -> None:
    call = MoragClient.__dict__["status"]

    assert (call.__name__, call.__qualname__, call.__module__) == (
        "status",
        "MoragClient.status",
        "morag_client.api.client",
    )
    assert call.__doc__ == status.__doc__
    assert str(inspect.signature(call)) == "(self, /, task_id: 'str') -> 'TaskStatus'"
    assert str(inspect.signature(MoragClient.__dict__["download"])).endswith("-> 'Path'")
    with MoragClient() as client:
        assert str(inspect.signature(client.status)) == "(task_id: 'str') -> 'TaskStatus'"


def test_all_calls_that_there_are() -> None:
    assert set(calls_of(MoragClient)) == set(
        """ingest_file ingest_url ingest_batch process status history recent_events active_tasks queue_stats cancel
        list_files download download_bytes delete_files""".split()
    )
    assert set(calls_of(Stages)) == {"list", "execute", "chain", "status"}
    assert set(calls_of(Files)) == {"download", "info", "list"}
