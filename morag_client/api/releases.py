"""MoRAG's releases: which one a server is, found out by what it has."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Final, Literal, get_args

from morag_client.api.answers import Answering
from morag_client.api.models import ActiveTasks
from morag_client.api.requests import Exchange, Request
from morag_client.errors import ApiError, ConfigurationError, NotFound, NotUnderstood
from morag_client.events.payloads import Payload

Release = Literal["guide", "r1", "r2", "r3"]
ApiVersion = Literal["auto", "guide", "r1", "r2", "r3"]

EVERY_RELEASE: Final[tuple[Release, ...]] = get_args(Release)
WITH_TASKS: Final[tuple[Release, ...]] = ("guide", "r1", "r2")
STAGES_INSTEAD: Final = "use client.stages and client.files, which are in their place there"
_NO_SUCH_METHOD: Final = 405


def require_version(version: str) -> ApiVersion:
    """The version as given. Raises ConfigurationError with the choices."""
    choices: tuple[ApiVersion, ...] = get_args(ApiVersion)
    for choice in choices:
        if choice == version:
            return choice
    raise ConfigurationError(f"no api_version= is {version!r}; choose one of {', '.join(choices)}")


def find_release() -> Generator[Exchange[Any], Any, Release]:
    """Finds out which release answers, by requests that change nothing.

    The list of active tasks is counted by another word in r1 and r2, and r3 has none; of r1 and the guide's only the
    latter has `process`. Raises ApiError where the server cannot be told.
    """
    try:
        active: ActiveTasks = yield Answering(Request(method="GET", path="/api/v1/status/"), ActiveTasks)
    except NotFound:
        return (yield from _require_stages())
    if "total_count" in active:
        return "r2"
    if "count" not in active:
        raise NotUnderstood("the server's list of tasks is none of a known MoRAG's: set api_version= to its release")
    return (yield from _with_or_without_process())


def _require_stages() -> Generator[Exchange[Any], Any, Release]:
    try:
        yield Answering(Request(method="GET", path="/api/v1/stages/"), Payload)
    except NotFound as error:
        raise NotFound(
            "the server has neither tasks nor stages: check that base_url= or MORAG_API_URL is MoRAG's",
            status_code=error.status_code,
            detail=error.detail,
        ) from None
    return "r3"


def _with_or_without_process() -> Generator[Exchange[Any], Any, Release]:
    try:
        yield Answering(Request(method="GET", path="/api/v1/process"), Payload)
    except ApiError as error:
        if error.status_code == _NO_SUCH_METHOD:
            return "guide"
        if isinstance(error, NotFound):
            return "r1"
        raise
    return "guide"
